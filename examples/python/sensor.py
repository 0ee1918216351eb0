"""A sensor's loop: readings come as lines, some with the truth that was found out later, and each is answered at once.

    sensor.py AGENT_DATA MODEL < READINGS

It follows MODEL of the agent whose data folder is AGENT_DATA. A line of READINGS is one row of numbers with commas between
them, or `= CLASS`, the truth about the row before it. It prints what the model says of each row and every alarm of its
monitor; windows, labelled rows and records reach the agent by themselves.
"""

import sys

import edgeward
import numpy as np


def main():
    _, agent_data, name = sys.argv
    asked = right = told = 0
    with edgeward.Model.follow(agent_data, name) as model:
        model.wait(timeout=60)
        answer = None
        for line in sys.stdin:
            line = line.strip()
            if line.startswith("="):
                truth = line[1:].strip()
                if answer is None:
                    print("a truth came before any reading", file=sys.stderr)
                    continue
                row = answer.rows[0]
                told += 1
                right += truth in (row.label, str(row.predicted))
                model.label(answer, truth)
                continue
            try:
                reading = np.array([line.split(",")], dtype=np.float32)
                answer = model.infer(reading)
            except (ValueError, edgeward.InvalidInput) as error:
                print(f"skipped '{line[:40]}': {error}", file=sys.stderr)
                continue
            asked += 1
            row = answer.rows[0]
            print(f"{row.label or row.predicted} {row.confidence:.3f}", flush=True)
            for alarm in answer.alarms:
                print(f"alarm {alarm}", flush=True)
    print(f"asked {asked} told {told} right {right}")


if __name__ == "__main__":
    main()
