"""Training: a recipe, photos, and one visible loop for every objective. Needs the extra `[train]`.

recipe.py, config.py        what a run makes, as TOML and as one frozen value; recipes/ has the shipped ones
data/                       photos and masks: each sample a function of (recipe, seed, position)
models.py, lender.py, setup.py   the networks of a run, opened and checked; its objective put together
inputs.py, noising.py       from a batch to latents, noise, timesteps, ids
objectives.py, few_steps.py what is compared: diffusion, distillation, guidance, consistency
losses.py, perceptual.py    the terms
weighting.py                their weights from gradient norms, and one backward pass for all
muon.py, optimize.py, schedule.py   the optimiser
averaging.py, statistics.py averaged weights, batch-norm statistics for inference
loop.py                     the loop
validate.py, live.py, runlog.py   held-out photos, and what a run leaves to be read
checkpoint.py, stop.py, finish.py   going on after a stop; the model folder at the end
ablation.py, throughput.py, published_step.py   comparisons, as commands
masks.py, published_masks.py        generators of holes
autoencoder.py, photos.py   the small autoencoder's own training
"""
