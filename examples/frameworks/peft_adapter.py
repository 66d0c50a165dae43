"""A LoRA or DoRA adapter with peft:    python peft_adapter.py --out out [--resume out/epoch0]"""

import argparse
import os

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--resume")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--dora", action="store_true")
    parser.add_argument("--trainable", action="store_true", help="load the adapter with is_trainable=True")
    parser.add_argument("--keep-state", action="store_true", help="optimizer, schedule and generator as well")
    args = parser.parse_args()
    torch.manual_seed(0)
    ids = torch.randint(64, (96, 12))
    loader = DataLoader(ids, batch_size=8, shuffle=True)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    start = 0
    if args.resume:
        model = PeftModel.from_pretrained(base, args.resume, is_trainable=args.trainable)
        start = int(args.resume[-1]) + 1
    else:
        model = get_peft_model(base, LoraConfig(r=4, lora_dropout=0.1, target_modules=["c_attn"], use_dora=args.dora))
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad] or model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs * len(loader))
    if args.resume and args.keep_state:
        state = torch.load(os.path.join(args.resume, "training.pt"))
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])

    for epoch in range(start, args.epochs):
        for batch in loader:
            optimizer.zero_grad()
            loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            optimizer.step()
            scheduler.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}")
        folder = os.path.join(args.out, f"epoch{epoch}")
        model.save_pretrained(folder)
        if args.keep_state:
            state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
            torch.save(state | {"rng": torch.get_rng_state()}, os.path.join(folder, "training.pt"))
    torch.save(model.state_dict(), os.path.join(args.out, "final.pt"))


if __name__ == "__main__":
    main()
