"""Run a script and kill it after so many updates of its optimizer:    python killed.py 18 train.py --out out"""

import os
import runpy
import signal
import sys

from torch.optim.optimizer import register_optimizer_step_post_hook

after, *sys.argv = sys.argv[1:]
done = 0


def count(optimizer, args, kwargs):
    global done
    done += 1
    if done > int(after):
        os.kill(os.getpid(), signal.SIGKILL)


register_optimizer_step_post_hook(count)
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
