"""What each kind of model needs to be served; `base` is the port."""
