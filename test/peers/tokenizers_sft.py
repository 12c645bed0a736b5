"""Rows of supervised training as TRL's SFTTrainer prepares them, and its loss on them.

python test/peers/tokenizers_sft.py MODEL ROWS.json OUT.json

ROWS.json: a list of { prompt, completion } or of { text }.
"""

import json
import os
import sys
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402


def main():
    model, rows, out = sys.argv[1:]
    with open(rows, encoding="utf-8") as file:
        data = json.load(file)
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_length=512,
        report_to=[],
        per_device_eval_batch_size=1,
        use_cpu=True,
        bf16=False,
        model_init_kwargs={"dtype": "float32"},
    )
    dataset = Dataset.from_list(data)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    made = []
    loss, tokens = 0.0, 0
    for row in trainer.train_dataset:
        ids = row["input_ids"][: config.max_length]
        labels = row["labels"][: config.max_length]
        made.append({"input_ids": row["input_ids"], "labels": row["labels"]})
        with torch.no_grad():
            logits = trainer.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        for position in range(1, len(ids)):
            if labels[position] != -100:
                loss -= logits[position - 1, ids[position]].item()
                tokens += 1
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"rows": made, "loss": loss / tokens}, file)


main()
