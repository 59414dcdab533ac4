"""The Kubernetes runtime: jobs and servers as Jobs and Deployments of one namespace."""
