"""The runtime that needs no cluster: jobs and servers as processes of this machine."""
