"""MakeHuman's hands to one hand in MANO's layout: sample people, correct the skeleton, skin it, compress the shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hand_asset import anatomy
from hand_asset.anatomy import CHAIN_BASES, LAST_JOINTS, PARENTS, chain_length, next_joint
from hand_asset.makehuman import MakeHumanHand
from hand_asset.skinning import heat_weights

FOREARM_M = 0.20
NUM_SHAPE = 10
NUM_PEOPLE = 1500
SEED = 0

# Spread of the people, as standard deviations of relative length.
SIZE_SD = 0.045  # overall size, log-normal; adults of both sexes. MakeHuman's own sliders would give 15 %.
FINGER_SD = 0.045  # each finger
PHALANX_SD = 0.027  # each phalanx on top of its finger, and the palm's length
PALM_WIDTH_SD = 0.04
THICKNESS_SD = 0.05  # all fingers together

# Weights below this are dropped: they move nothing visible and cost bytes.
SMALLEST_WEIGHT = 1e-3


@dataclass
class People:
    """Rest hands in MANO's frame with the wrist at the origin.

    vertices (N, V, 3), joints (N, 21, 3), metres.
    """

    vertices: np.ndarray
    joints: np.ndarray

    def align(self, reference_joints: np.ndarray) -> None:
        """Turn every hand about its wrist so that its palm lies on the reference's."""
        for n in range(len(self.joints)):
            turn = anatomy.palm_rotation(self.joints[n], reference_joints)
            self.vertices[n] = self.vertices[n] @ turn.T
            self.joints[n] = self.joints[n] @ turn.T

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        return self.vertices.mean(0), self.joints.mean(0)


def build_hand(root: Path) -> tuple[dict[str, np.ndarray], MakeHumanHand]:
    """The arrays of the default hand (the .npz layout of graphhand.hand_model.files), and the reader for its record."""
    source = MakeHumanHand(root, FOREARM_M)
    people = sample_people(source, NUM_PEOPLE, np.random.default_rng(SEED))
    reference = people.joints[0].copy()
    people.align(reference)
    vertices, joints = people.mean()
    scale = 1e-3 * anatomy.HAND_CHAIN_MM / chain_length(joints)
    weights17 = bone_weights(vertices * scale, source.faces, joints * scale)
    weights = weights17[:, :16].copy()
    weights[:, 0] += weights17[:, 16]

    vary_lengths(people, weights, np.random.default_rng(SEED + 1))
    people.align(reference)
    # The palm of the mean hand defines the frame exactly.
    _, joints = people.mean()
    axes = anatomy.mano_axes(joints)
    people.vertices, people.joints = people.vertices @ axes.T, people.joints @ axes.T

    vertices, joints = people.mean()
    coefficients = principal_coefficients(people, weights17[:, 16])
    shape_dirs = linear_response(coefficients, people.vertices)
    joint_dirs = linear_response(coefficients, people.joints)
    arrays: dict[str, np.ndarray] = {
        "v_template": vertices.astype(np.float32),
        "shapedirs": shape_dirs.astype(np.float32),
        "posedirs": np.zeros((len(vertices), 3, 0), np.float32),
        "J_regressor": joint_regressor(vertices, shape_dirs, joints[:16], joint_dirs[:16]).astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack((PARENTS, np.arange(16))).astype(np.int64),
        "f": source.faces.astype(np.int32),
        "tip_ids": fingertip_vertices(vertices, joints, weights).astype(np.int32),
        "hands_components": np.eye(45, dtype=np.float32),
        "hands_mean": np.zeros(45, np.float32),
        "forearm_weight": weights17[:, 16].astype(np.float32),
        "hand_vertex_count": np.array(source.hand_vertex_count, np.int64),
        "side": np.array("right"),
        "makehuman_vertex": source.base_index.astype(np.int32),
    }
    return arrays, source


def sample_people(source: MakeHumanHand, count: int, rng: np.random.Generator) -> People:
    """Random people over MakeHuman's sliders: adults mostly, one in seven a child or youth."""
    vertices, joints = [], []
    for _ in range(count):
        african, asian, caucasian = rng.dirichlet([1, 1, 1])
        phenotype = {
            "african": african,
            "asian": asian,
            "caucasian": caucasian,
            "age": rng.uniform(0.55, 1) if rng.uniform() < 0.85 else rng.uniform(0.40, 0.55),
        }
        for slider in ("gender", "muscle", "weight", "height", "proportions"):
            phenotype[slider] = rng.uniform()
        local = {
            "finger_length": np.clip(rng.normal(0, 0.25), -0.8, 0.5),
            "hand_scale": np.clip(rng.normal(0, 0.15), -0.5, 0.4),
            "finger_diameter": rng.uniform(-1, 1),
            "finger_distance": rng.uniform(-1, 1),
            "wrist_girth": rng.uniform(-0.6, 0.6),
            "forearm_fat": rng.uniform(0, 0.2),
        }
        points, named = source.person(phenotype, local)
        skeleton = anatomy.joints_of(named)
        axes = anatomy.mano_axes(skeleton)
        vertices.append((points - skeleton[0]) @ axes.T)
        joints.append((skeleton - skeleton[0]) @ axes.T)
    return People(np.stack(vertices), np.stack(joints))


def bone_weights(vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V, 17) heat weights: the 16 skeleton joints, then the forearm.

    MakeHuman's own weights bend the fingers at its web-level bases; the corrected knuckles need weights of their own.
    """
    wrist = joints[0]
    forearm_end = vertices[vertices[:, 0] > vertices[:, 0].max() - 0.01].mean(0)
    bones = [(wrist, forearm_end), (wrist, (wrist + joints[4]) / 2)]
    owners = [16, 0]
    for knuckle in (1, 4, 7, 10):
        bones.append(((wrist + joints[knuckle]) / 2, joints[knuckle]))
        owners.append(0)
    for joint in range(1, 16):
        bones.append((joints[joint], joints[next_joint(joint)]))
        owners.append(joint)
    heat = heat_weights(vertices, faces, bones)
    weights = np.zeros((len(vertices), 17))
    for column, owner in enumerate(owners):
        weights[:, owner] += heat[:, column]
    weights[weights < SMALLEST_WEIGHT] = 0
    return weights / weights.sum(1, keepdims=True)


def vary_lengths(people: People, weights: np.ndarray, rng: np.random.Generator) -> None:
    """Bring the mean to the published phalanges, then give every person their own proportions and overall size."""
    _, mean_joints = people.mean()
    factors = anatomy.length_factors(mean_joints * (1e-3 * anatomy.HAND_CHAIN_MM / chain_length(mean_joints)))
    for n in range(len(people.joints)):
        vertices, joints = stretch(people.vertices[n], people.joints[n], weights, factors, rng)
        size = 1e-3 * anatomy.HAND_CHAIN_MM / chain_length(joints) * np.exp(rng.normal(0, SIZE_SD))
        people.vertices[n], people.joints[n] = vertices * size, joints * size


def stretch(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, factors: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Stretch every bone along itself by its factor and a random one, the skin following by its weights."""
    linear = np.tile(np.eye(3), (16, 1, 1))
    linear[0] = np.diag([1 + rng.normal(0, PHALANX_SD), 1.0, 1 + rng.normal(0, PALM_WIDTH_SD)])
    thickness = rng.normal(0, THICKNESS_SD)
    for base in CHAIN_BASES:
        finger = rng.normal(0, FINGER_SD)
        for joint in (base, base + 1, base + 2):
            bone = joints[next_joint(joint)] - joints[joint]
            bone = bone / np.linalg.norm(bone)
            length = factors[joint] * (1 + finger + rng.normal(0, PHALANX_SD))
            linear[joint] = (1 + thickness) * np.eye(3) + (length - 1 - thickness) * np.outer(bone, bone)
    moved = joints.copy()
    for joint in range(1, 16):
        parent = PARENTS[joint]
        moved[joint] = moved[parent] + linear[parent] @ (joints[joint] - joints[parent])
    for joint in LAST_JOINTS:
        tip = next_joint(joint)
        moved[tip] = moved[joint] + linear[joint] @ (joints[tip] - joints[joint])
    offset = moved[:16] - np.einsum("jab,jb->ja", linear, joints[:16])
    blended = np.einsum("vj,jab->vab", weights, linear)
    return np.einsum("vab,vb->va", blended, vertices) + weights @ offset, moved


def principal_coefficients(people: People, forearm_weight: np.ndarray) -> np.ndarray:
    """(N, NUM_SHAPE) unit-variance scores of a PCA over hand vertices and joints; the forearm hardly counts."""
    count = len(people.joints)
    vertex_metric = (1 - 0.9 * forearm_weight)[:, None]
    data = np.concatenate(
        (
            ((people.vertices - people.vertices.mean(0)) * vertex_metric).reshape(count, -1),
            2.0 * (people.joints - people.joints.mean(0)).reshape(count, -1),
        ),
        axis=1,
    )
    # Scores are eigenvectors of the Gram matrix; 1500 people make it smaller than the vertex covariance.
    _, vectors = np.linalg.eigh(data @ data.T)
    scores = vectors[:, ::-1][:, :NUM_SHAPE] * np.sqrt(count - 1)
    # An eigenvector's sign is arbitrary. Fix it: the coordinate that moves most moves away from the wrist.
    response = linear_response(scores, people.vertices).reshape(-1, NUM_SHAPE)
    largest = np.abs(response).argmax(0)
    outward = np.sign(people.vertices.mean(0).reshape(-1)[largest])
    return scores * (outward * np.sign(response[largest, np.arange(NUM_SHAPE)]))


def linear_response(scores: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, 3, S) change of `points` (N, P, 3) per unit of each uncorrelated unit-variance score (N, S)."""
    return np.einsum("ns,npc->pcs", scores, points - points.mean(0), optimize=True) / (len(scores) - 1)


def joint_regressor(
    vertices: np.ndarray, shape_dirs: np.ndarray, joints: np.ndarray, joint_dirs: np.ndarray
) -> np.ndarray:
    """(16, V) rows, summing to 1, that give the joints exactly for the mean hand and every shape direction.

    Per joint, the least-norm solution over the 160 nearest vertices, weighted towards the nearest.
    """
    regressor = np.zeros((len(joints), len(vertices)))
    known = np.concatenate((vertices[..., None], shape_dirs), axis=2)
    wanted = np.concatenate((joints[..., None], joint_dirs), axis=2)
    for joint in range(len(joints)):
        distance = np.linalg.norm(vertices - joints[joint], axis=1)
        near = np.argsort(distance, kind="stable")[:160]
        preference = np.exp(-((distance[near] / 0.02) ** 2)) + 1e-3
        equations = np.vstack((known[near].transpose(1, 2, 0).reshape(-1, len(near)), np.full((1, len(near)), 0.1)))
        target = np.append(wanted[joint].reshape(-1), 0.1)
        gram = (equations * preference) @ equations.T
        regressor[joint, near] = preference * (equations.T @ np.linalg.lstsq(gram, target, rcond=1e-12)[0])
    return regressor


def fingertip_vertices(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(5,) the vertex furthest along each last phalanx and close to its axis, thumb to little."""
    tips = []
    for joint in LAST_JOINTS:
        axis = joints[next_joint(joint)] - joints[joint]
        axis = axis / np.linalg.norm(axis)
        own = np.flatnonzero(weights[:, joint] > 0.9)
        offset = vertices[own] - joints[joint]
        along = offset @ axis
        tips.append(own[np.argmax(along - 0.3 * np.linalg.norm(offset - along[:, None] * axis, axis=1))])
    return np.array(tips)
