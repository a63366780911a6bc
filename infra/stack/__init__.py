"""The local stack: real servers, the demo fleet and the product on one machine, supervised."""
