"""A tiny GPT-2 with transformers' Trainer:    python hf_trainer.py --output-dir out [--resume out/checkpoint-12]"""

import argparse
import os

import torch
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)


class Counting(Dataset):
    """Numbers that go up by a step of their own."""

    def __init__(self, samples=96, augment=False):
        self.augment = augment
        self.ids = [(torch.arange(8 + i % 5) * (1 + i % 7) + i) % 64 for i in range(samples)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        ids = inputs = self.ids[index]
        if self.augment:  # a tenth of the numbers is hidden, other ones each time
            inputs = torch.where(torch.rand(ids.shape) < 0.1, 0, ids)
        return {"input_ids": inputs, "labels": ids}


def of_images():
    """A small ViT, and random images in four classes."""
    torch.manual_seed(1)
    images = torch.rand(96, 1, 8, 8)
    samples = [{"pixel_values": image, "labels": int(image[0, 0, :4].argmax())} for image in images]
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(image_size=8, patch_size=4, num_channels=1, num_labels=4, hidden_dropout_prob=0.1, **sizes)
    set_seed(0)
    return ViTForImageClassification(config), samples


def pad(samples):
    columns = {name: [sample[name] for sample in samples] for name in ("input_ids", "labels")}
    fill = {"input_ids": 0, "labels": -100}
    rows = torch.nn.utils.rnn.pad_sequence
    return {name: rows(each, batch_first=True, padding_value=fill[name]) for name, each in columns.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-dir", default="out")
    parser.add_argument("--resume")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--save-steps", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--vit", action="store_true", help="a ViT, and not a GPT-2")
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--group-by-length", action="store_true")
    parser.add_argument("--ignore-data-skip", action="store_true")
    parser.add_argument("--save-only-model", action="store_true")
    args = parser.parse_args()
    set_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2)  # dropout is 0.1 by default
    model = GPT2LMHeadModel(config)
    strategy = "steps" if args.save_steps else "epoch"
    more = {"train_sampling_strategy": "group_by_length"} if args.group_by_length else {}
    training_args = TrainingArguments(
        output_dir=args.output_dir,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=args.accumulate,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=4,
        save_strategy=strategy,
        save_steps=args.save_steps or 500,
        save_only_model=args.save_only_model,
        eval_strategy=strategy if args.evaluate else "no",
        ignore_data_skip=args.ignore_data_skip,
        dataloader_num_workers=args.workers,
        seed=0,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **more,
    )
    train_dataset, collator = Counting(augment=args.augment), pad
    if args.vit:
        (model, train_dataset), collator = of_images(), None
    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=Counting(samples=16),
        data_collator=collator,
    )
    trainer.train(resume_from_checkpoint=args.resume)
    torch.save(model.state_dict(), os.path.join(args.output_dir, "final.pt"))


if __name__ == "__main__":
    main()
