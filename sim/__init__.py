"""The board that is not there: a physical plant, the simulated board, and their tools."""
