"""What each kind of model needs to be trained; `base` is the port."""
