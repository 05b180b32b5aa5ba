"""grok_sweep: sweeps of small networks that memorise and then grok, with the paper's progress measures."""
