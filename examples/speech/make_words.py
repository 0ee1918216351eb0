#!/usr/bin/env python3
"""Makes data/words.csv and data/words.ima: command words as speakers of seven accents say them.

Needs espeak-ng 1.51 (a Debian package) and numpy, only here: the demo reads the two files. Everything is seeded, so the
same version of espeak-ng gives the same bytes. What the files hold is in data/README.md.
"""

import csv
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

RATE = 8000
WORDS = "yes no up down left right on off stop go".split()
HOME = "us"
TAKES_HOME = 3
# An accent is a voice of another language that reads the word as its speakers write down what they hear.
ACCENTS = {
    "us": ("en-us", WORDS),
    "french": ("fr-fr", "yesse nô eupe daoune lèfte raïte onne offe stoppe gô".split()),
    "brazilian": ("pt-br", "iés nôu âp dáun léfiti ráiti ôn ófi istópi gôu".split()),
    "russian": ("ru", "ес ноу ап даун лефт райт он офф стоп гоу".split()),
    "japanese": ("ja", "イエス ノー アップ ダウン レフト ライト オン オフ ストップ ゴー".split()),
    "korean": ("ko", "예스 노 업 다운 레프트 라이트 온 오프 스톱 고".split()),
    "turkish": ("tr", "yes no ap daun left rayt on of stop go".split()),
}
SPEAKERS_HOME = "m1 m2 m3 m4 m5 m6 m7 f1 f2 f3 f4 klatt Andy Annie".split()
SPEAKERS = "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt".split()

# The 89 step sizes of IMA ADPCM.
STEPS = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88, 97, 107,
    118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658, 724, 796, 876, 963,
    1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894,
    6484, 7132, 7845, 8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794,
    32767,
]
TURNS = [-1, -1, -1, -1, 2, 4, 6, 8]


def synthesise(voice, variant, pitch, speed, text):
    """A word at 8 kHz, without the silence around it, its loudest sample at 0.7 of full scale."""
    command = ["espeak-ng", "-v", f"{voice}+{variant}", "-p", str(pitch), "-s", str(speed), "--stdout", text]
    wav = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    rate = int.from_bytes(wav[24:28], "little")
    sound = np.frombuffer(wav[44:], dtype="<i2").astype(float)
    length = len(sound) * RATE // rate
    spectrum = np.fft.rfft(sound)[: length // 2 + 1]
    sound = np.fft.irfft(spectrum, length)
    energy = np.convolve(sound * sound, np.ones(80) / 80, "same")
    loud = np.flatnonzero(energy > energy.max() * 1e-3)
    sound = sound[max(0, loud[0] - 40) : loud[-1] + 40]
    return np.round(sound / np.abs(sound).max() * 0.7 * 32767).astype(int)


def encode(samples):
    """IMA ADPCM from a state of zeros: four bits a sample, the earlier one in the upper half of a byte."""
    value, index, codes = 0, 0, []
    for sample in samples:
        step, rest = STEPS[index], abs(int(sample) - value)
        code, change = 0, step >> 3
        for bit, part in ((4, step), (2, step >> 1), (1, step >> 2)):
            if rest >= part:
                code, rest, change = code | bit, rest - part, change + part
        falls = sample < value
        value = max(-32768, min(32767, value - change if falls else value + change))
        index = max(0, min(88, index + TURNS[code]))
        codes.append(code | 8 if falls else code)
    codes += [0] * (len(codes) % 2)
    return bytes(first << 4 | second for first, second in zip(codes[::2], codes[1::2]))


def main(folder):
    """Writes both files."""
    chance = random.Random(20240901)
    rows, sounds = [], bytearray()
    for accent, (voice, texts) in ACCENTS.items():
        home = accent == HOME
        for variant in SPEAKERS_HOME if home else SPEAKERS:
            voice_pitch = chance.randint(35, 65)
            for take in range(TAKES_HOME if home else 1):
                for word, text in zip(WORDS, texts):
                    pitch, speed = voice_pitch + chance.randint(-6, 6), chance.randint(140, 190)
                    samples = synthesise(voice, variant, pitch, speed, text)
                    rows.append([accent, variant.lower(), take, word, len(sounds), len(samples)])
                    sounds += encode(samples)
    (folder / "words.ima").write_bytes(sounds)
    with open(folder / "words.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["accent", "speaker", "take", "word", "offset", "samples"])
        writer.writerows(rows)
    print(f"{len(rows)} words, {len(sounds)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
