"""Imported once by the process that workers are forked from: it notes what code they all run, while that is what lies
there. A worker that starts hours later, after an edit, runs what was imported, and says so."""

from grok_sweep.commit import code

code()
