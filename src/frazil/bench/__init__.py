"""What a machine makes of the network: the peak of its matrix products, the time and memory of a call, and advice.

`run.benchmark` is `frazil bench`. The parts are used by the comparison with other programs (`python -m benchmarks`) as
well, `measuring` also where nothing but torch is installed; so nothing is imported here.
"""
