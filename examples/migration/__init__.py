"""A chat application without telemetry (``before``) and with it (``after``).

The modules have the same names, and import their neighbours relatively, so that ``diff``
shows nothing but the instrumentation.
"""
