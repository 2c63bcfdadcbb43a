"""Draw pictures of the elements of equivariance: python -m benchmarks.make_pictures --out docs/pictures (uses e3nn).

`sphere` a signal on the sphere and its irreps; `field` a scalar field and its rotation; `stress` a stress tensor as
0 ⊕ 2; `product` D_2 ⊗ D_1 before and after the change of basis to D_1 ⊕ D_2 ⊕ D_3; `polynomial` an equivariant
polynomial of a molecule before and after a rotation of the molecule.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from e3nn import o3
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.style import COLUMN_WIDTH, HUES, save, style

Row = dict[str, object]
COLOURS = "PuOr"  # diverging, and distinguishable with every kind of colour vision
PIXELS = 260
DPI = 150  # for screens; the PDF and SVG are sharp at any size
DOUBLE = torch.float64


def rotation() -> torch.Tensor:
    """Return the rotation of all pictures, `[3, 3]`, about an axis that is not a coordinate axis."""
    axis = torch.tensor([0.3, 0.8, 0.52], dtype=DOUBLE)
    rotation_matrix: torch.Tensor = o3.axis_angle_to_matrix(axis / axis.norm(), torch.tensor(1.1, dtype=DOUBLE))
    return rotation_matrix


def disc() -> tuple[torch.Tensor, np.ndarray]:
    """Return points of the front of the unit sphere, `[n, 3]`, and the mask of their pixels, `[PIXELS, PIXELS]`.

    The sphere is seen along −z, with x to the right and y up.
    """
    line = torch.linspace(-1, 1, PIXELS, dtype=DOUBLE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = x**2 + y**2 < 1
    points = torch.stack([x[inside], y[inside], (1 - x[inside] ** 2 - y[inside] ** 2).sqrt()], dim=-1)
    return points, inside.numpy()


def harmonics(degrees: Sequence[int], points: torch.Tensor) -> torch.Tensor:
    """Return e3nn's real spherical harmonics, of norm 1 per degree, at directions `[n, 3]`: `[n, Σ(2l+1)]`."""
    values: torch.Tensor = o3.spherical_harmonics(list(degrees), points, normalize=True, normalization="norm")
    return values


def draw_sphere(axes: Axes, values: torch.Tensor, inside: np.ndarray, limit: float, text: str) -> None:
    """Draw a function on the front of the sphere as a disc."""
    image = np.full((PIXELS, PIXELS), np.nan)
    image[inside] = values.numpy()
    axes.imshow(image, origin="lower", extent=(-1, 1, -1, 1), cmap=COLOURS, vmin=-limit, vmax=limit, rasterized=True)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color="#444444", linewidth=0.6)
    axes.set_axis_off()
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(-1.05, 1.05)
    axes.set_title(text, loc="center", fontsize=7, fontweight="normal")


def signal(degrees: int = 3) -> list[torch.Tensor]:
    """Return random coefficients of a function on the sphere, `[2l+1]` for each degree l and smaller for larger l."""
    generator = torch.Generator().manual_seed(5)
    sizes = [2 * degree + 1 for degree in range(degrees + 1)]
    return [torch.randn(size, generator=generator, dtype=DOUBLE) / (0.75 + 0.25 * size) for size in sizes]


def sphere(stem: Path) -> list[Path]:
    """Draw a signal on the sphere as the sum of its parts of each degree l; return the files written."""
    points, inside = disc()
    parts = [harmonics([degree], points) @ c for degree, c in enumerate(signal())]
    whole = torch.stack(parts).sum(dim=0)
    limit = float(whole.abs().max())
    figure = Figure(figsize=(2 * COLUMN_WIDTH, 1.45), layout="constrained")
    row = figure.subplots(1, len(parts) + 1)
    draw_sphere(row[0], whole, inside, limit, "f on the sphere")
    for degree, (axes, values) in enumerate(zip(row[1:], parts, strict=True)):
        draw_sphere(axes, values, inside, limit, f"{'+' if degree else '='}  l = {degree} ({2 * degree + 1})")
    numbers = [
        {"l": degree, "component": m, "value": float(v)} for degree, c in enumerate(signal()) for m, v in enumerate(c)
    ]
    return save(figure, stem, numbers)


def bumps(points: torch.Tensor) -> torch.Tensor:
    """Return a scalar field, the sum of four Gaussians, at points: `[..., 3]` → `[...]`."""
    centres = torch.tensor([[0.5, 0.1, 0.2], [-0.4, 0.5, 0.0], [-0.2, -0.5, 0.1], [0.3, -0.4, -0.3]], dtype=DOUBLE)
    heights = torch.tensor([1.0, 0.8, -0.9, 0.5], dtype=DOUBLE)
    squared = ((points[..., None, :] - centres) ** 2).sum(dim=-1)
    return (heights * torch.exp(-squared / 0.06)).sum(dim=-1)


def field(stem: Path) -> list[Path]:
    """Draw a scalar field in a plane, and the same field rotated: (gf)(x) = f(g⁻¹x); return the files written."""
    line = torch.linspace(-1, 1, 160, dtype=DOUBLE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)], dim=-1)
    turn = o3.matrix_z(torch.tensor(0.9, dtype=DOUBLE))
    pictures = (("f(x)", bumps(points)), ("(g f)(x) = f(g⁻¹x)", bumps(points @ turn)))  # rows times R: R⁻¹ on columns
    figure = Figure(figsize=(COLUMN_WIDTH, 1.85), layout="constrained")
    numbers: list[Row] = []
    for axes, (text, values) in zip(figure.subplots(1, 2), pictures, strict=True):
        extent = (-1, 1, -1, 1)
        axes.imshow(values.numpy(), origin="lower", extent=extent, cmap=COLOURS, vmin=-1, vmax=1, rasterized=True)
        axes.contour(
            line.numpy(),
            line.numpy(),
            values.numpy(),
            levels=np.linspace(-0.8, 0.8, 9),
            colors="#444444",
            linewidths=0.4,
        )
        axes.set_axis_off()
        axes.set_title(text, loc="center", fontsize=7.5, fontweight="normal")
        coarse = values[::20, ::20]
        numbers += [
            {"picture": text, "x": float(line[20 * j]), "y": float(line[20 * i]), "f": float(coarse[i, j])}
            for i in range(len(coarse))
            for j in range(len(coarse))
        ]
    return save(figure, stem, numbers)


def decomposed(tensor: torch.Tensor) -> dict[int, torch.Tensor]:
    """Decompose a symmetric tensor `[3, 3]` into its parts of degree 0 and 2, `[3, 3]` each, by e3nn's basis change."""
    products = o3.ReducedTensorProducts("ij=ji", i="1o")
    basis = products.change_of_basis.to(DOUBLE)  # [6, 3, 3], orthonormal
    coefficients = torch.einsum("aij,ij->a", basis, tensor)
    parts, start = {}, 0
    for multiplicity, irrep in products.irreps_out:
        stop = start + multiplicity * irrep.dim
        parts[irrep.l] = torch.einsum("a,aij->ij", coefficients[start:stop], basis[start:stop])
        start = stop
    return parts


def matrix(axes: Axes, values: torch.Tensor, limit: float, text: str, *, named: bool = False) -> None:
    """Draw a matrix as coloured squares, with its numbers if `named`."""
    axes.imshow(values.numpy(), cmap=COLOURS, vmin=-limit, vmax=limit)
    if named:
        for i in range(values.shape[0]):
            for j in range(values.shape[1]):
                dark = abs(float(values[i, j])) > 0.65 * limit
                shown = f"{float(values[i, j]):z.1f}".replace("-", "−")
                axes.text(j, i, shown, ha="center", va="center", fontsize=6.5, color="white" if dark else "#222222")
    axes.set_axis_off()
    axes.set_title(text, loc="center", fontsize=7, fontweight="normal")


def stress(stem: Path) -> list[Path]:
    """Draw a stress tensor as trace (l = 0) plus traceless part (l = 2); return the files written."""
    tensor = torch.tensor([[2.1, 0.7, -0.4], [0.7, -0.6, 0.9], [-0.4, 0.9, 1.2]], dtype=DOUBLE)
    parts = decomposed(tensor)
    pictures = (("stress σ", tensor), ("=  l = 0: pressure", parts[0]), ("+  l = 2: shear", parts[2]))
    figure = Figure(figsize=(COLUMN_WIDTH, 1.3), layout="constrained")
    numbers: list[Row] = []
    for axes, (text, values) in zip(figure.subplots(1, 3), pictures, strict=True):
        matrix(axes, values, 2.2, text, named=True)
        numbers += [{"part": text, "i": i, "j": j, "value": float(values[i, j])} for i in range(3) for j in range(3)]
    return save(figure, stem, numbers)


def product_matrices() -> tuple[torch.Tensor, torch.Tensor]:
    """Return D_2(R) ⊗ D_1(R) in the product basis, and in the basis of D_1 ⊕ D_2 ⊕ D_3, `[15, 15]` each."""
    one, two = (o3.Irrep(degree, (-1) ** degree).D_from_matrix(rotation()) for degree in (1, 2))
    kron = torch.einsum("ij,kl->ikjl", two, one).reshape(15, 15)
    blocks = [
        o3.wigner_3j(2, 1, degree, dtype=DOUBLE).reshape(15, -1) * (2 * degree + 1) ** 0.5 for degree in (1, 2, 3)
    ]  # orthonormal columns
    change = torch.cat(blocks, dim=1)
    return kron, change.T @ kron @ change


def product(stem: Path) -> list[Path]:
    """Draw the matrix of D_2 ⊗ D_1 before and after the change of basis; return the files written."""
    kron, blocks = product_matrices()
    figure = Figure(figsize=(COLUMN_WIDTH, 1.85), layout="constrained")
    left, right = figure.subplots(1, 2)
    matrix(left, kron, 1.0, "D₂(g) ⊗ D₁(g)")
    matrix(right, blocks, 1.0, "in another basis: D₁ ⊕ D₂ ⊕ D₃")
    start = 0
    for degree in (1, 2, 3):
        size = 2 * degree + 1
        corner = (start - 0.5, start - 0.5)
        right.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="#222222", linewidth=0.9))
        start += size
    numbers = [
        {"matrix": name, "i": i, "j": j, "value": float(values[i, j])}
        for name, values in (("kron", kron), ("blocks", blocks))
        for i in range(15)
        for j in range(15)
    ]
    return save(figure, stem, numbers)


MOLECULE = torch.tensor([[0.9, 0.1, 0.1], [-0.5, 0.75, 0.05], [-0.45, -0.6, 0.5], [0.05, -0.3, -0.85]], dtype=DOUBLE)
"""Neighbours of an atom at the origin, in units of the cutoff."""


def polynomial_of(neighbours: torch.Tensor) -> torch.Tensor:
    """Evaluate an equivariant polynomial of neighbours: `[n, 3]` → `[16]`, degrees 0 to 3.

    It is A + A ⊗ A cut to l ≤ 3, with the density A = Σ_j r_j·Y(r_j) of l = 1, 2.
    """
    lengths = neighbours.norm(dim=-1, keepdim=True)
    density = (lengths * harmonics([0, 1, 2], neighbours)).sum(dim=0)
    result = torch.zeros(16, dtype=DOUBLE)
    density[0] = 0.0  # the number of neighbours, which would drown the rest of the picture
    result[:9] += density
    starts = {0: slice(0, 1), 1: slice(1, 4), 2: slice(4, 9), 3: slice(9, 16)}
    for a in (0, 1, 2):
        for b in (0, 1, 2):
            for degree in range(abs(a - b), min(a + b, 3) + 1):
                if (a + b + degree) % 2 == 0:  # parity (−1)^l throughout
                    clebsch = o3.wigner_3j(a, b, degree, dtype=DOUBLE)
                    result[starts[degree]] += torch.einsum(
                        "i,j,ijk->k", density[starts[a]], density[starts[b]], clebsch
                    )
    return result


def rotate(coefficients: torch.Tensor) -> torch.Tensor:
    """Apply D(R) of 0 ⊕ 1 ⊕ 2 ⊕ 3 to coefficients, `[16]` → `[16]`."""
    rotated: torch.Tensor = o3.Irreps("0e + 1o + 2e + 3o").D_from_matrix(rotation()) @ coefficients
    return rotated


def polynomial(stem: Path) -> list[Path]:
    """Draw the polynomial's value as a function on the sphere, for the molecule and for the rotated molecule.

    Returns the files written.
    """
    points, inside = disc()
    cases = (("f(x)", MOLECULE, polynomial_of(MOLECULE)), ("f(g x) = D(g) f(x)", MOLECULE @ rotation().T, None))
    figure = Figure(figsize=(COLUMN_WIDTH, 1.95), layout="constrained")
    numbers: list[Row] = []
    limit = float((harmonics([0, 1, 2, 3], points) @ polynomial_of(MOLECULE)).abs().max())
    for axes, (text, neighbours, known) in zip(figure.subplots(1, 2), cases, strict=True):
        coefficients = polynomial_of(neighbours) if known is None else known
        draw_sphere(axes, harmonics([0, 1, 2, 3], points) @ coefficients, inside, limit, text)
        order = neighbours[:, 2].argsort()  # far atoms first
        for x, y, z in neighbours[order].tolist():
            size = 4.5 + 2.5 * z
            axes.plot([0, x], [0, y], color="#222222", linewidth=1.0, alpha=0.5 if z < 0 else 1.0)
            axes.plot(x, y, "o", color=HUES[4], markeredgecolor="#222222", markeredgewidth=0.5, markersize=size)
        axes.plot(0, 0, "o", color="#222222", markersize=4)
        numbers += [{"picture": text, "component": i, "value": float(v)} for i, v in enumerate(coefficients)]
    return save(figure, stem, numbers)


PICTURES: dict[str, Callable[[Path], list[Path]]] = {
    "sphere": sphere,
    "field": field,
    "stress": stress,
    "product": product,
    "polynomial": polynomial,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Draw all pictures and print the files written; return the exit code."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/pictures.md.")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder (default docs/pictures)")
    folder: Path = parser.parse_args(argv).out
    with style(), mpl.rc_context({"figure.dpi": DPI, "savefig.dpi": DPI}):
        for name, picture in PICTURES.items():
            for path in picture(folder / name):
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
