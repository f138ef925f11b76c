import numpy as np

from drivers.meshes import expand_mesh, resample_mesh


def test_a_plane_is_a_plane_up_to_the_edges():
    y, x = np.mgrid[:1024, :512]
    plane = 5 + 0.01 * x - 0.02 * y
    mesh = plane.reshape(8, 128, 4, 128).mean(axis=(1, 3)).astype(np.float32)
    assert np.abs(expand_mesh(mesh, 128, plane.shape) - plane).max() < 1e-4


def test_the_last_cells_may_be_partial():
    y, x = np.mgrid[:300, :130]
    plane = 5 + 0.01 * x - 0.02 * y
    mesh = np.array(
        [
            [plane[r : r + 64, c : c + 64].mean() for c in range(0, 130, 64)]
            for r in range(0, 300, 64)
        ],
        np.float32,
    )
    assert np.abs(expand_mesh(mesh, 64, plane.shape) - plane).max() < 1e-4


def test_something_smooth_is_met_between_the_middles():
    y, x = np.mgrid[:512, :512]
    smooth = np.cos(x / 120) * np.sin(y / 150)
    middles = np.arange(32, 512, 64) - 0.5
    mesh = (np.cos(middles / 120) * np.sin(middles[:, None] / 150)).astype(np.float32)
    inside = np.s_[32:480, 32:480]
    assert np.abs(expand_mesh(mesh, 64, smooth.shape) - smooth)[inside].max() < 3e-3


def test_one_cell_is_flat():
    assert (expand_mesh(np.full((1, 1), 7, np.float32), 64, (30, 40)) == 7).all()


def test_a_mesh_is_given_in_cells_of_another_size():
    y, x = np.mgrid[:300, :130]
    plane = 5 + 0.01 * x - 0.02 * y

    def mesh(cell):
        rows, columns = range(0, 300, cell), range(0, 130, cell)
        values = [[plane[r : r + cell, c : c + cell].mean() for c in columns] for r in rows]
        return np.array(values, np.float32)

    assert np.abs(resample_mesh(mesh(64), 64, plane.shape, 32) - mesh(32)).max() < 1e-4
    assert np.abs(resample_mesh(mesh(32), 32, plane.shape, 64) - mesh(64)).max() < 1e-4
    assert np.array_equal(resample_mesh(mesh(64), 64, plane.shape, 64), mesh(64))
