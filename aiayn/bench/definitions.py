"""What the figures in the records of contests mean."""

ROUNDS = 6
DEFINITIONS = {
    "contenders": "ours starts as the commands of `aiayn` start themselves, with large pages of "
    "memory on CPU (aiayn.system.memory); a peer as it comes, and once more with large pages; "
    "next to peers all in float32 on CPU",
    "rounds": f"{ROUNDS} for each contender, after warming_up steps; they take turns, and each "
    "round begins with a step that is not counted: a virtual machine may have lost the memory that "
    "was free while the contender waited",
    "warming_up": "steps before the first round",
    "seconds_per_step": "wall time of a round by its steps",
    "median_seconds_per_step": "of the rounds",
    "processor_seconds_per_step": "of all threads of the contender, in a round",
    "others": "processors that were busy with anything but the contender, in the mean of a round; "
    "none where the system does not say",
    "target_tokens_per_step": "real target tokens, no padding",
    "target_tokens_per_second": "target_tokens_per_step by median_seconds_per_step",
    "steps_per_second": "one by median_seconds_per_step",
    "source_tokens_per_step": "as on the target side",
    "source_tokens_per_second": "as on the target side",
    "ratios": "the peer's seconds_per_step by ours in the same round: above 1, ours is faster",
    "first_step_seconds": "the first step, with its compilation: nothing comes from a cache",
    "peak_rss_bytes": "the highest resident memory of the contender so far",
    "peak_device_bytes": "ours: the highest memory of any of its devices so far, where they say",
    "programs": "ours: how many XLA has compiled so far, those that make the state included",
    "compile_seconds": "ours: what XLA took for these programs",
    "batches_at_once": "CTranslate2: the batches under way at once, each by threads / "
    "batches_at_once threads; one by all threads where a record does not say",
    "threads": "processors it may use (ours, CTranslate2); threads it takes (PyTorch)",
    "parameters": "numbers that training changes; ours have rows of padding in the embedding",
    "ceilings": "bytes/s read and written by a large copy just before: the best of ten on one "
    "device (on accelerators of ten rounds of five sent off together), times devices; FLOP/s of "
    "all devices by the maker's data sheet",
    "xla_product_flops_per_second": "of a large matrix product of XLA's in float32 on CPU, in "
    "bfloat16 elsewhere, measured as the copy, but by ours in each round, the best of three, "
    "in turns with the contenders; no limit, since other products and libraries may be faster",
    "best_xla_product_flops_per_second": "the best of the rounds",
    "product_flops_per_second": "the same product by the library of a peer, in the same rounds",
    "share_of_xla_product": "flops_per_step by the median step, by the best of the "
    "rounds' products",
    "share_of_datasheet": "the same by what the data sheet says (MFU); none where we know none",
}
OF_TRAINING = {
    "padding": "share of the target slots that hold no token",
    "flops_per_step": "of the matrix products of a step: 2 for each multiply-add, three passes, no "
    "causal saving, of packed sentences each with itself alone "
    "(aiayn.model.flops.training_flops)",
    "loss": "nats per target token of a round's last step",
}
OF_DECODING = {
    "beam_size": "hypotheses of a sentence; 1 is greedy search",
    "step": "all sentences translated once, in batches, to outputs of a forced length; on CPU ours "
    "has two batches under way, side by side, CTranslate2 one on each processor, Hugging Face's "
    "one on all of them",
    "tokens": "of all best outputs of a round's last step, EOS included",
    "flops_per_step": "of the matrix products that the outputs need: 2 for each multiply-add, the "
    "encoder once, the decoder for each token of each hypothesis "
    "(aiayn.model.flops.decoding_flops)",
}
OF_GENERATION = {
    "step": "all prompts gone on with once, side by side, by greedy search to a forced length; "
    "CTranslate2 has them as one batch",
    "target_tokens_per_step": "tokens that are written",
    "source_tokens_per_step": "tokens of the prompts, without BOS",
    "source_tokens_per_second": "source_tokens_per_step by median_seconds_per_step",
    "tokens": "of all outputs of a round's last step",
    "flops_per_step": "of the matrix products that the outputs need: 2 for each multiply-add, the "
    "layers for each token that is read, the words' scores for each that is written "
    "(aiayn.model.flops.decoding_flops)",
}
OF_PROMPTS = {
    **OF_GENERATION,
    "contenders": "ours twice, on CPU: the prompt is read in one pass, as `aiayn generate` reads "
    "it, or forced on the search word by word, as the prefix of a translation is",
    "step": "a prompt up to the first word after it",
    "word": "the id of that word",
    "ratios": "the seconds_per_step word by word by those in one pass, in the same round",
}
ABOUT = ("bench", "workload", "definitions", "commit", "versions", "hardware", "name")
"""Keys of a record that need no definition."""
