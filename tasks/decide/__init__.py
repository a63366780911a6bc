"""Pure functions: state, answers and time in, decisions out."""
