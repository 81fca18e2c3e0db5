"""The networks the methods are made of: plain ``nn.Module`` classes, no Lightning here."""
