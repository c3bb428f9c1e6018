"""Train on two ranks with a monitor: ``python ranks.py FOLDER RANK``."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import dimscope as ds
from dimscope.monitoring.process import from_main_process


def main(folder, rank):
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/group", timedelta(seconds=120), world_size=2, rank=rank
    )
    torch.manual_seed(0)
    data = torch.randn(64, 6)
    network = DistributedDataParallel(
        nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))
    )
    monitor = ds.IDMonitor(network, data, every=2, max_overhead=None)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    scheduled = []
    for step in range(4):
        loss = network(data[rank::2] + step).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(loss=loss)
        scheduled.append(monitor.scheduled)
    state = from_main_process(monitor.state_dict())
    resumed = ds.IDMonitor(network, data, every=2, max_overhead=None, first=False)
    resumed.load_state_dict(state)
    sharded = nn.Linear(6, 20)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (2,)))
    try:
        ds.IDMonitor(sharded, data)
        refusal = ""
    except ds.BadSource as error:
        refusal = str(error)
    result = {
        "refusal": refusal,
        "names": list(from_main_process(monitor.values)),
        "resumed": resumed.steps,
        "text": repr(monitor),
        "layers": list(monitor.values),
        "scheduled": scheduled,
        "state": sorted(monitor.state_dict()),
        "weight": float(network.module[0].weight.sum()),
        "finish": monitor.finish(),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
