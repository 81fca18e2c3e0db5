"""The commands of `lsmbench`, one file each."""
