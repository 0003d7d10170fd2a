"""Measure a damped oscillation (simulated, with noise), fit its law by least squares, and draw both.

    y(t) = amplitude * exp(-damping * t) * cos(frequency * t + phase) + offset

The fit is Levenberg and Marquardt's. The value is what it found, with standard errors, as plain data.
"""

import matplotlib.pyplot as plt
import numpy as np

NAMES = ("amplitude", "damping", "frequency", "phase", "offset")
TRUE = np.array([2.5, 0.35, 4.0, 0.6, 0.8])
NOISE = 0.12


def law(parameters, t):
    amplitude, damping, frequency, phase, offset = parameters
    return amplitude * np.exp(-damping * t) * np.cos(frequency * t + phase) + offset


def jacobian(parameters, t):
    amplitude, damping, frequency, phase, _ = parameters
    envelope = np.exp(-damping * t)
    cosine, sine = np.cos(frequency * t + phase), np.sin(frequency * t + phase)
    columns = (
        envelope * cosine,
        -amplitude * t * envelope * cosine,
        -amplitude * t * envelope * sine,
        -amplitude * envelope * sine,
        np.ones_like(t),
    )
    return np.stack(columns, axis=1)


def first_guess(t, y):
    """The offset is the mean, the frequency the highest peak of the spectrum, the rest modest."""
    spectrum = np.abs(np.fft.rfft(y - y.mean()))
    frequencies = 2 * np.pi * np.fft.rfftfreq(len(t), t[1] - t[0])
    return np.array([np.ptp(y) / 2, 0.1, frequencies[spectrum.argmax()], 0.0, y.mean()])


def fit(t, y, steps=200):
    """The parameters of least squares and their standard errors."""
    parameters, caution = first_guess(t, y), 1e-2
    cost = np.sum((y - law(parameters, t)) ** 2)
    for _ in range(steps):
        slopes, residuals = jacobian(parameters, t), y - law(parameters, t)
        normal = slopes.T @ slopes
        change = np.linalg.solve(normal + caution * np.diag(np.diag(normal)), slopes.T @ residuals)
        tried = np.sum((y - law(parameters + change, t)) ** 2)
        if tried > cost:
            caution *= 10
            continue
        parameters, caution, gain, cost = parameters + change, caution / 10, cost - tried, tried
        if gain < 1e-12 * cost:
            break
    covariance = np.linalg.inv(normal) * cost / (len(t) - len(parameters))
    return parameters, np.sqrt(np.diag(covariance))


def draw(t, y, parameters):
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 6), height_ratios=(3, 1))
    fine = np.linspace(t[0], t[-1], 1000)
    above.plot(t, y, ".", color="tab:blue", label="measured")
    above.plot(fine, law(parameters, fine), color="tab:red", label="fitted")
    above.set(ylabel="y", title="A damped oscillation, fitted by least squares")
    above.legend()
    below.axhline(0, color="tab:red", linewidth=1)
    below.plot(t, y - law(parameters, t), ".", color="tab:blue")
    below.set(xlabel="t / s", ylabel="residual")
    figure.tight_layout()


def named(values):
    return dict(zip(NAMES, values.tolist(), strict=True))


t = np.linspace(0, 10, 400)
y = law(TRUE, t) + np.random.default_rng(seed=7).normal(scale=NOISE, size=t.size)
parameters, errors = fit(t, y)
draw(t, y, parameters)
for name, value, error in zip(NAMES, parameters, errors, strict=True):
    print(f"{name:>9} = {value:+.4f} ± {error:.4f}")

{"true": named(TRUE), "fitted": named(parameters), "errors": named(errors), "numpy": np.__version__}
