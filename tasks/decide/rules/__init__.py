"""What can be wrong with a cluster, rule by rule; `table` has them all."""
