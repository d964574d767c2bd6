"""Attacks x epsilons on trained models: planned, run, resumed, and summed up."""
