"""Training samples: each a pure function of (recipe, seed, position in an endless stream).

    recipe.py                       DataRecipe: everything that decides what a sample is
    sources.py                      Source: photos with their masks, from any mix of places; held-out photos
      records.py                      one photo, its mask, its category; Source, the interface
      files.py, shards.py             folders and lists; tar shards read at random
    order.py                        which photo stands at which position, every one once an epoch
    sample.py                       photo + mask -> what the network sees
      pixels.py                       an encoded photo as RGB
      crops.py, holes.py              where a square is cut, and what of it is hidden
    loader.py                       batches for a rank, made ahead by a thread or by processes
    latents.py                      encoded photos on disk
    preview.py                      samples as a picture

Because nothing but the position decides, any number of ranks and loader processes see what one would, and a run
that goes on sees what it would have seen.
"""
