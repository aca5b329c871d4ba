"""What tests of strategies need, ours included: venues to run against, without a network."""
