"""The indicators of a CSV of candles, by TA-Lib and by exact fractions.

Usage: reference.py FILE     e.g. reference.py ../shared/data/binance/klines/gct_BTCUSDT_1h.csv

One line a candle: rsi macd signal histogram slope trend score, `nan` while one is not warm. `slope` is TA-Lib's
LINEARREG_SLOPE; `trend` is slope / mean of the newest 20 closes in exact fractions, rounded once. `score` is the model's
fusion written anew from its description. Nothing here is shared with Spark.
"""

import csv
import sys
from fractions import Fraction

import numpy
import talib

WINDOW = 20


def trend(closes):
    """Least-squares slope / mean of a window, without any rounding before the last step."""
    ys = [Fraction(close) for close in closes]
    n = len(ys)
    x_mean, y_mean = Fraction(n - 1, 2), sum(ys) / n
    over = sum((x - x_mean) * (y - y_mean) for x, y in enumerate(ys))
    under = sum((x - x_mean) ** 2 for x in range(n))
    return float(over / under / y_mean)


def part(x):
    return x / (1 + abs(x))


def main(path):
    with open(path, newline="") as file:
        closes = numpy.array([float(row["close"]) for row in csv.DictReader(file)])
    rsi = talib.RSI(closes, timeperiod=14)
    macd, signal, histogram = talib.MACD(closes, fastperiod=12, slowperiod=26, signalperiod=9)
    slope = talib.LINEARREG_SLOPE(closes, timeperiod=WINDOW)
    for at, close in enumerate(closes):
        line = trend(closes[at + 1 - WINDOW : at + 1]) if at + 1 >= WINDOW else float("nan")
        parts = -part((rsi[at] - 50) / 20), part(histogram[at] / close / 0.0005), part(line / 0.0005)
        values = rsi[at], macd[at], signal[at], histogram[at], slope[at], line, sum(parts) / 3
        print(*(repr(float(value)) for value in values))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
