"""Handwritten digits with the Trainer; goes on from its newest checkpoint:    python hf_trainer.py --out out"""

import argparse
import os

import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint


class Classifier(nn.Module):
    """Returns the loss and the logits, as the Trainer asks of a module."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(288, 10)

    def forward(self, pixel_values, labels):
        logits = self.head(self.features(pixel_values))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    set_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images[:320], dtype=torch.float32).unsqueeze(1) / 16
    data = [{"pixel_values": x, "labels": int(y)} for x, y in zip(images, digits.target, strict=False)]
    training_args = TrainingArguments(
        output_dir=args.out,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        save_strategy="epoch",
        seed=0,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(model=Classifier(), args=training_args, train_dataset=data)
    newest = get_last_checkpoint(args.out) if os.path.isdir(args.out) else None
    trainer.train(resume_from_checkpoint=newest)


if __name__ == "__main__":
    main()
