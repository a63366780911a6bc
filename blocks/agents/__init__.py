"""Agents: what they are asked, and how."""
