"""Handwritten digits: DoRA adapters on a small ViT with peft; goes on from its newest epoch:

python peft_dora.py --out out

`save_pretrained` writes the adapter alone. What else a resume needs is saved beside it.
"""

import argparse
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from transformers import ViTConfig, ViTForImageClassification


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images[:320], dtype=torch.float32).unsqueeze(1) / 16
    loader = DataLoader(TensorDataset(images, torch.tensor(digits.target[:320])), batch_size=64, shuffle=True)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=8,
        patch_size=2,
        num_channels=1,
        num_labels=10,
    )
    base = ViTForImageClassification(config)
    saved = sorted(args.out.glob("epoch*"))
    if saved:
        model = PeftModel.from_pretrained(base, saved[-1], is_trainable=True)
    else:
        targets = ["q_proj", "v_proj"]
        lora = LoraConfig(r=4, lora_dropout=0.1, use_dora=True, target_modules=targets, modules_to_save=["classifier"])
        model = get_peft_model(base, lora)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs * len(loader))
    first = 0
    if saved:
        state = torch.load(saved[-1] / "training.pt")
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        first = state["epoch"]
        torch.set_rng_state(state["rng"])  # last: building the model has drawn from it

    for epoch in range(first, args.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = model(pixel_values=x, labels=y).loss
            loss.backward()
            optimizer.step()
            scheduler.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}")
        folder = args.out / f"epoch{epoch}"
        model.save_pretrained(folder)
        state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "epoch": epoch + 1}
        torch.save({**state, "rng": torch.get_rng_state()}, folder / "training.pt")


if __name__ == "__main__":
    main()
