"""What things cost, as ratios within one run: to the network calls that they need, and to how others do them."""
