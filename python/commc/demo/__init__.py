"""The main job: a sentence encoder with trained weights and a Llama-shaped decoder, on 1, 2 and 4 ranks (see __main__)."""
