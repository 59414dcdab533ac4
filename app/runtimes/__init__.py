"""Where specs become processes: one port (`base`), one room for every dialect."""
