"""From other colour spaces to red, green and blue: CMYK, CIE L*a*b* and luma with chroma.

Each conversion is that of its standard, so that an image has one answer, whichever library decoded its
samples. Colour profiles are not applied: inks are those of a simple printer, and L*a*b* is shown relative to
its own white.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .pixels import Bytes, Pixels

__all__ = ["D50", "cmyk_to_rgb", "lab_samples", "lab_to_rgb", "ycbcr_to_rgb"]

White = tuple[float, float]
Floats = npt.NDArray[np.float32]

D50: White = (0.34567, 0.35850)  # chromaticity x, y; what TIFF readers take where no white is stated
_D65: White = (0.31270, 0.32900)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_XYZ_TO_SRGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
_LINEAR = 0.0031308  # below it, sRGB is proportional to light
_CUBE = 6 / 29  # above it, L*a*b* is a cube root
_ROWS = 1 << 18  # pixels converted at a time


def cmyk_to_rgb(ink: Bytes) -> Bytes:
    """Cyan, magenta, yellow and black (..., 4), 255 full ink, as light (..., 3), rounded half up.

    Example:
        >>> cmyk_to_rgb(np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]], dtype=np.uint8)).tolist()
        [[255, 255, 255], [0, 255, 255], [0, 0, 0]]
    """
    light = 255 - ink.astype(np.uint32)
    product = light[..., :3] * light[..., 3:]
    result: Bytes = ((product * 2 + 255) // 510).astype(np.uint8)
    return result


def lab_samples(samples: Pixels, *, icc: bool) -> Floats:
    """L* from 0 to 100, a* and b* from samples of 8 or 16 bits (..., 3).

    Args:
        samples: of TIFF's CIELab, whose a* and b* are signed, or of ICCLab, whose a* and b* begin at -128.
        icc: which of the two.

    Example:
        >>> lab_samples(np.array([255, 10, 246], dtype=np.uint8), icc=False).tolist()
        [100.0, 10.0, -10.0]
        >>> lab_samples(np.array([65280, 35328, 30208], dtype=np.uint16), icc=True).tolist()
        [100.0, 10.0, -10.0]
    """
    wide = samples.dtype.itemsize == 2
    if icc:
        values = samples.astype(np.float32) / np.float32(256 if wide else 1)
        lightness, chroma = values[..., :1] / np.float32(2.55), values[..., 1:3] - np.float32(128)
    else:
        lightness = samples[..., :1].astype(np.float32) * np.float32(100 / (65535 if wide else 255))
        signed = samples[..., 1:3].astype(np.int16 if wide else np.int8)
        chroma = signed.astype(np.float32) / np.float32(256 if wide else 1)
    return np.concatenate([np.minimum(lightness, np.float32(100)), chroma], axis=-1)


def lab_to_rgb(lab: Floats, white: White = D50) -> Bytes:
    """L*a*b* relative to a white (h, w, 3) as sRGB whose white is the same (Bradford's adaptation to D65).

    Example:
        >>> lab_to_rgb(np.array([[[100, 0, 0], [0, 0, 0], [53.585, 0, 0]]], dtype=np.float32)).tolist()
        [[[255, 255, 255], [0, 0, 0], [128, 128, 128]]]
    """
    flat = lab.reshape(-1, 3)
    result = np.empty(flat.shape, dtype=np.uint8)
    for start in range(0, len(flat), _ROWS):
        result[start : start + _ROWS] = _lab_to_rgb(flat[start : start + _ROWS].astype(np.float64), white)
    return result.reshape(lab.shape)


def ycbcr_to_rgb(
    samples: Bytes,
    coefficients: tuple[float, float, float] = (0.299, 0.587, 0.114),
    black_white: tuple[float, ...] = (0, 255, 128, 255, 128, 255),
) -> Bytes:
    """Luma and two chromas (..., 3) as red, green and blue, by TIFF 6.0, section 21.

    Args:
        samples: Y, Cb and Cr bytes.
        coefficients: shares of red, green and blue in the luma.
        black_white: of each sample, the code of none and the code of all.

    Example:
        >>> ycbcr_to_rgb(np.array([[76, 85, 255], [255, 128, 128]], dtype=np.uint8)).tolist()
        [[254, 0, 0], [255, 255, 255]]
    """
    red, green, blue = coefficients
    values = samples.astype(np.float32)
    none, full = np.array(black_white[::2], np.float32), np.array(black_white[1::2], np.float32)
    values = (values - none) * (np.array([255, 127, 127], np.float32) / (full - none))
    y, cb, cr = values[..., 0], values[..., 1], values[..., 2]
    r = y + cr * np.float32(2 - 2 * red)
    b = y + cb * np.float32(2 - 2 * blue)
    g = (y - np.float32(blue) * b - np.float32(red) * r) / np.float32(green)
    return np.clip(np.floor(np.stack([r, g, b], axis=-1) + np.float32(0.5)), 0, 255).astype(np.uint8)


def _lab_to_rgb(lab: npt.NDArray[np.float64], white: White) -> Bytes:
    y = (lab[:, 0] + 16) / 116
    roots = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    share = np.where(roots > _CUBE, roots**3, 3 * _CUBE**2 * (roots - 4 / 29))
    light = (share * _xyz(white)) @ (_XYZ_TO_SRGB @ _adaptation(white)).T
    light = np.clip(light, 0, 1)
    coded = np.where(light <= _LINEAR, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.floor(coded * 255 + 0.5).astype(np.uint8)


def _xyz(white: White) -> npt.NDArray[np.float64]:
    x, y = white
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: White) -> npt.NDArray[np.float64]:
    """The matrix that takes XYZ seen under a white to XYZ seen under D65."""
    found, wanted = _BRADFORD @ _xyz(white), _BRADFORD @ _xyz(_D65)
    matrix: npt.NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(wanted / found) @ _BRADFORD
    return matrix
