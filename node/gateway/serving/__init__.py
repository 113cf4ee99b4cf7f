"""What makes a gateway a load balancer: whom it sends requests to, and the nginx that does it."""
