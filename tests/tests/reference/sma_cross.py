"""SMA crossover in pandas, the reference that the backtest is held to.

Usage: sma_cross.py KLINES.csv FAST SLOW COMMISSION CASH BARS_PER_YEAR; prints one JSON object.

Long while the mean of the last FAST closes is above that of the last SLOW, flat otherwise; all in, at the close of the bar
that led to it. A buy takes cash / (price * (1 + commission)), so that price and commission together are what there is: a buy
of cash / price could never be paid. Fractions are not rounded.
"""

import json
import sys

import pandas as pd


def main() -> None:
    path, fast, slow, commission, cash, bars_per_year = sys.argv[1:]
    commission, cash = float(commission), float(cash)
    bars = pd.read_csv(path)
    close = bars["close"]
    wants = close.rolling(int(fast)).mean() > close.rolling(int(slow)).mean()
    known = close.rolling(int(slow)).mean().notna()
    start, held, trades, equity = cash, 0.0, [], []
    for time, price, want, is_known in zip(bars["open_time"], close, wants, known):
        if is_known and want and held == 0.0:
            held = cash / (price * (1 + commission))
            cash -= held * price * (1 + commission)
            trades.append(["buy", int(time), price, held])
        elif is_known and not want and held > 0.0:
            trades.append(["sell", int(time), price, held])
            cash += held * price * (1 - commission)
            held = 0.0
        equity.append(cash + held * price)
    curve = pd.Series([start, *equity])
    returns = curve.pct_change().dropna()
    sharpe = returns.mean() / returns.std() * float(bars_per_year) ** 0.5
    drawdown = (1 - curve / curve.cummax()).max() * 100
    print(
        json.dumps(
            {
                "trades": trades,
                "total_return_pct": (equity[-1] / start - 1) * 100,
                "sharpe": sharpe,
                "max_drawdown_pct": drawdown,
                "bars": len(bars),
            }
        )
    )


if __name__ == "__main__":
    main()
