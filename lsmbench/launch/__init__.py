"""Where runs are computed; each launcher keeps the contract `lsmbench.launch.base.Launcher`."""
