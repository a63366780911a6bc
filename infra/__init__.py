"""What surrounds the product: the local stack of real servers, the demo's agents."""
