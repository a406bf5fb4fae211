"""How fast it is, and why: named cases, interleaved, beside the published graph and other networks.

run.py              a run: cases, rounds in shuffled order, a file that a killed run goes on from
cases.py            what a case is, and which there are; the base installation is enough to read it
denoiser.py, autoencoder.py, whole.py   cases of the networks, and end to end. Need `[torch]`
nano.py, engine.py, processes.py, photos.py   the bundled model, any model folder on each engine, start-up and memory:
                    the base installation is enough
others.py, lama.py   other people's networks at random weights; pipelines.py   their inference, array to array
pictures.py         whole pictures, several at a time: ours, the published inference, theirs; variants.py   ways of ours
subjects.py         the networks that are measured, random weights, and whether there is memory for them
reference.py        the published graph: what everything is compared with
counting.py, peaks.py   operations and bytes of a call; what the machine's own library reaches
tables.py, compare.py   results as Markdown, and beside earlier ones
fresh.py, alone.py  the process in which memory is measured
profile.py, parity.py   where time goes; what number formats cost a picture
bars.py, plot.py, summing_up.py   a GPU's results beside what was asked, and drawn; capacity.py   other cards, on paper
"""
