"""The ways in which a run is told: terminal, JSON, HTML."""
