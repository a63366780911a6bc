"""TLS: material, contexts, and what errors mean."""
