"""Scenes of people: who stands where, what they hold and sit at, and the camera. All that labels depend on."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import axis_rotation
from graphhand.synthesis.config import SceneConfig
from graphhand.synthesis.mesh import object_faces, sample_objects
from graphhand.synthesis.people import People, PeopleComposer
from graphhand.synthesis.random import CounterRandom, StreamCache

_PEOPLE_SEED, _OBJECT_SEED = 0x9E0_91E, 0x0B1_EC7  # xor with the seed
PERSON_STRIDE = 8  # random indices per image
VIEWS = ("webcam", "room", "street", "close", "first_person")
_CROWDS = {  # how many people, as weights of 1, 2, ...
    "webcam": (0.82, 0.18),
    "room": (0.4, 0.35, 0.15, 0.1),
    "street": (0.1, 0.3, 0.25, 0.2, 0.15),
    "close": (0.7, 0.3),
    "first_person": (0.6, 0.4),
}

# a phone in the palm, in the hand's frame
_PHONE_PLACE_M, _PHONE_HALF_M = (-0.088, -0.030, 0.004), (0.074, 0.0042, 0.037)
# horizontal fields of view
_FIELD_DEG = {"webcam": (52, 80), "room": (45, 72), "street": (38, 62), "close": (38, 65), "first_person": (68, 95)}


class Camera(NamedTuple):
    """One image's camera: rotation (3, 3) from the world, place (3,) in it, intrinsics (3, 3), and which of VIEWS."""

    rotation: Tensor
    place_m: Tensor
    K: Tensor
    view: int

    def to_camera(self, points_m: Tensor) -> Tensor:
        """World points (..., 3) in the camera frame."""
        return (points_m - self.place_m) @ self.rotation.T


class Solid(NamedTuple):
    """A thing in the world: vertices and normals (V, 3), triangles (F, 3), colours (2, 3) and gloss."""

    vertices_m: Tensor
    normals: Tensor
    faces: Tensor
    colours: Tensor
    gloss: float


class SceneBatch(NamedTuple):
    """People of some images, in the world of each image.

    Attributes:
        image: (M,) the image of each person; place: (M,) their number in it.
        turn: (M, 3, 3) and shift_m: (M, 3), which put them into their world.
        people: in their own frames.
        cameras, solids: of each image.
        hidden: (M,) people whose head is not drawn, as the camera is in it.
    """

    image: Tensor
    place: Tensor
    turn: Tensor
    shift_m: Tensor
    people: People
    cameras: list[Camera]
    solids: list[list[Solid]]
    hidden: Tensor

    def world(self, points_m: Tensor) -> Tensor:
        """Points (M, ..., 3) of people in their worlds."""
        flat = points_m.flatten(1, -2)
        return (flat @ self.turn.transpose(1, 2) + self.shift_m[:, None]).view(points_m.shape)


class SceneComposer:
    """Samples scenes.

    Args:
        config: what varies, and how often.
        hand: the default right hand.
        device: where to compute.
    """

    def __init__(self, config: SceneConfig, hand: HandModel, device: torch.device | str = "cpu") -> None:
        self.config, self.people = config, PeopleComposer(hand, device)
        self._people_cache, self._object_cache = StreamCache(), StreamCache()
        self._views = torch.tensor([getattr(config, name) for name in VIEWS])
        self._object_faces = object_faces().to(device)

    def __call__(self, random: CounterRandom) -> SceneBatch:
        """The scenes of a batch of images."""
        view = random.choice("view", self._views)
        weights = torch.zeros(len(VIEWS), self.config.max_people, device=view.device)
        for row, name in enumerate(VIEWS):
            crowd = _CROWDS[name][: self.config.max_people]
            weights[row, : len(crowd)] = torch.tensor(crowd)
        edges = (weights / weights.sum(1, keepdim=True)).cumsum(1)[view]
        number = 1 + (random.uniform("people")[:, None] > edges).sum(1).clamp(max=self.config.max_people - 1)
        image = torch.repeat_interleave(number)
        first = number.cumsum(0) - number
        place = torch.arange(len(image), device=image.device) - first[image]
        who = CounterRandom(
            self.config.seed ^ _PEOPLE_SEED, random.indices[image] * PERSON_STRIDE + place, self._people_cache
        )
        people = self.people(who)
        turn, shift = self._places(who, view[image], place, number[image], people)
        blank = SceneBatch(image, place, turn, shift, people, [], [], torch.zeros_like(image, dtype=torch.bool))
        heads, joints = blank.world(people.skeleton.heads_m), blank.world(people.joints_m)
        cameras = [
            self._camera(random, b, int(view[b]), blank, int(first[b]), heads, joints) for b in range(random.batch)
        ]
        solids = self._solids(who, blank, random.batch)
        hidden = (view[image] == VIEWS.index("first_person")) & (place == 0)
        return blank._replace(cameras=cameras, solids=solids, hidden=hidden)

    def _places(
        self, who: CounterRandom, view: Tensor, place: Tensor, number: Tensor, people: People
    ) -> tuple[Tensor, Tensor]:
        """Where people stand and how they are turned. The first one is at the origin and faces -y, roughly."""
        street = view == VIEWS.index("street")
        spacing = torch.where(street, 0.85, torch.where(view == 0, 0.52, 0.68))
        # 0, 1, -1, 2, -2: beside the first one
        slot = torch.div(place + 1, 2, rounding_mode="floor") * torch.where(place % 2 == 1, 1, -1)
        x = slot * spacing + 0.10 * who.normal("place/x") * (place > 0)
        deep = torch.where(street, 0.8, 0.22)
        y = deep * who.normal("place/y") * (place > 0) + 0.12 * place
        yaw = who.normal("place/yaw", std=24.0) - 12.0 * slot
        away = who.chance("place/away", 0.12) & ((view == 1) | street)
        facing = who.chance("place/profile", 0.15) & (view > 0)
        yaw = torch.where(facing, yaw + torch.where(who.chance("place/left", 0.5), 75.0, -75.0), yaw)
        yaw = torch.where(away, yaw + 180.0, yaw)
        turn = axis_rotation(torch.tensor([0.0, 0.0, 1.0], device=yaw.device).expand(len(yaw), 3), yaw)
        return turn, torch.stack([x, y, torch.zeros_like(x)], 1)

    def _camera(
        self, random: CounterRandom, b: int, view: int, scene: SceneBatch, first: int, heads: Tensor, joints: Tensor
    ) -> Camera:
        """Of image ``b``; heads of bones and joints of all people are in their worlds."""
        config, body = self.config, self.people.body
        mine = (scene.image == b).nonzero().squeeze(1)
        neck, one = body.bone("neck01"), heads[first]

        def number(name: str, low: float, high: float) -> float:
            return float(random.uniform(f"camera/{name}", low=low, high=high)[b])

        def jitter(name: str, std: float) -> Tensor:
            return random.normal(f"camera/{name}", 3, std=std)[b]

        name = VIEWS[view]
        focal = 0.5 * config.width / math.tan(math.radians(number("field", *_FIELD_DEG[name])) / 2)
        chest = one[neck] - one.new_tensor([0, 0, 0.14])
        ahead = scene.turn[first] @ one.new_tensor([0, -1.0, 0])
        if name == "close":
            side = int(number("side", 0, 2) >= 1)
            hand = joints[first, side]
            target = hand.mean(0)
            share = number("share", 0.18, 0.85)
            length = float(torch.linalg.vector_norm(hand - target, dim=1).max()) * 2
            away = max(0.22, focal * length / (share * config.height))
            outward = normalize(target - chest + 0.25 * ahead, dim=0)
            eye = target + away * normalize(outward + jitter("direction", 0.35), dim=0)
            target = target + jitter("aim", 0.12) * length
        elif name == "first_person":
            eyes = 0.5 * (one[body.bone("eye.R")] + one[body.bone("eye.L")])
            eye = eyes + 0.03 * ahead
            hands = joints[first].mean((0, 1))
            target = torch.lerp(hands, eye + ahead - one.new_tensor([0, 0, 0.5]), number("blend", -0.15, 0.4))
            target = target + jitter("aim", 0.08)
        else:
            centre = heads[mine][:, neck].mean(0) - one.new_tensor([0, 0, 0.14])
            near, far = {"webcam": (0.45, 1.05), "room": (1.2, 3.4), "street": (3.0, 7.5)}[name]
            distance = near * (far / near) ** number("distance", 0, 1)
            bearing = math.radians(float(random.normal("camera/bearing", std=11.0 if name == "webcam" else 18.0)[b]))
            height = {"webcam": number("height", -0.35, 0.35), "room": number("height", -0.5, 0.7),
                      "street": number("height", -0.3, 1.2)}[name]  # fmt: skip
            eye = centre + centre.new_tensor(
                [distance * math.sin(bearing), -distance * math.cos(bearing), height * min(1.0, distance)]
            )
            drop = {"webcam": number("drop", -0.12, 0.14), "room": number("drop", -0.25, 0.3),
                    "street": number("drop", 0.0, 0.5)}[name]  # fmt: skip
            target = centre - centre.new_tensor([0, 0, drop]) + jitter("aim", 0.08 * distance**0.5)
        roll = float(random.normal("camera/roll", std=4.0 if name != "first_person" else 8.0)[b])
        rotation = look_at(eye, target, roll)
        K = eye.new_tensor([[focal, 0, (config.width - 1) / 2], [0, focal, (config.height - 1) / 2], [0, 0, 1]])
        return Camera(rotation, eye, K, view)

    def _solids(self, who: CounterRandom, scene: SceneBatch, count: int) -> list[list[Solid]]:
        """Held objects, tables and chairs of each image."""
        solids: list[list[Solid]] = [[] for _ in range(count)]
        people, device = scene.people, scene.image.device
        both = torch.stack([2 * who.indices, 2 * who.indices + 1], 1).flatten()
        random = CounterRandom(who.seed ^ _OBJECT_SEED, both, self._object_cache)
        objects = sample_objects(random, people.hand_joints_m.flatten(0, 1), 1.0)
        mirrored = torch.ones(len(people.hand), 2, 1, 3, device=device)
        mirrored[:, 1, :, 0] = -1
        turned = people.hand.transpose(2, 3)
        vertices, normals = (v.unflatten(0, (-1, 2)) for v in (objects.vertices_m, objects.normals))
        vertices = (people.hand_scale[..., None, None] * vertices) @ turned * mirrored + people.wrist_m[:, :, None]
        normals = (normals @ turned * mirrored) @ scene.turn.transpose(1, 2)[:, None]
        vertices = scene.world(vertices)
        colour, gloss = objects.colour.unflatten(0, (-1, 2)), objects.gloss.unflatten(0, (-1, 2))
        for row, side in people.holds.nonzero().tolist():
            if int(people.holds[row, side]) == 2:
                place = people.hand_scale.new_tensor(_PHONE_PLACE_M) * people.hand_scale[row, side]
                wrist = people.wrist_m[row, side] * mirrored[0, side, 0]
                thing = box(place, _PHONE_HALF_M, people.hand[row, side], wrist, 0.4 * colour[row, side, 0])
                local = thing.vertices_m * mirrored[row, side]
                normal = thing.normals * mirrored[row, side] @ scene.turn[row].T
                faces = thing.faces[:, [0, 2, 1]] if side else thing.faces
                local = local @ scene.turn[row].T + scene.shift_m[row]
                solids[int(scene.image[row])].append(Solid(local, normal, faces, thing.colours, 1.5))
                continue
            # the reflection turns triangles inside out
            faces = self._object_faces[:, [0, 2, 1]] if side else self._object_faces
            thing = Solid(vertices[row, side], normals[row, side], faces, colour[row, side], float(gloss[row, side]))
            solids[int(scene.image[row])].append(thing)
        table = who.chance("table", self.config.tables) & people.seated
        colours = random_pairs(who, "furniture")
        size = who.uniform("furniture/size", 4)
        for row in people.seated.nonzero().squeeze(1).tolist():
            mine = solids[int(scene.image[row])]
            turn, shift = scene.turn[row], scene.shift_m[row]
            hips = people.skeleton.heads_m[row, self.people.body.bone("root")]
            w = size[row]
            seat = hips + hips.new_tensor([0, -0.10, -0.17])
            mine.append(box(seat, (0.22, 0.24, 0.03), turn, shift, colours[row, 0]))
            if float(w[0]) < 0.6:
                back = hips + hips.new_tensor([0, 0.23, 0.25])
                mine.append(box(back, (0.21, 0.025, 0.28), turn, shift, colours[row, 0]))
            if bool(table[row]):
                hands = people.joints_m[row]
                ahead = hands[..., 1].mean(1) < hips[1] - 0.16
                low = torch.where(ahead, hands[..., 2].amin(1), torch.inf).amin()
                top = torch.minimum(low - 0.012, hips[2] + 0.30)
                if float(top) > float(hips[2]) + 0.10:
                    half = (0.45 + 0.4 * float(w[1]), 0.24, 0.015)
                    middle = torch.stack([hips[0], hips[1] - 0.22 - half[1], top - half[2]])
                    mine.append(box(middle, half, turn, shift, colours[row, 1]))
        return solids


def look_at(eye: Tensor, target: Tensor, roll_deg: float) -> Tensor:
    """(3, 3) rotation from the world (z up) to a camera (x right, y down, z forward) at ``eye``."""
    forward = normalize(target - eye, dim=0)
    up = eye.new_tensor([0.0, 0.0, 1.0]) + 0.02 * eye.new_tensor([0.0, 1.0, 0.0])
    right = normalize(torch.linalg.cross(forward, up), dim=0)
    down = torch.linalg.cross(forward, right)
    c, s = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    return torch.stack([c * right + s * down, c * down - s * right, forward])


def random_pairs(random: CounterRandom, name: str) -> Tensor:
    """(B, 2, 3) muted linear colours."""
    grey = random.uniform(f"{name}/grey", 2, 1).square()
    return torch.lerp(grey.expand(-1, 2, 3), random.uniform(f"{name}/colour", 2, 3).square(), 0.4) * 0.7 + 0.01


def box(centre: Tensor, half: tuple[float, float, float], turn: Tensor, shift_m: Tensor, colour: Tensor) -> Solid:
    """An upright box of a person's frame in their world, with flat sides."""
    corners, normals, faces = [], [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = [0.0, 0.0, 0.0]
                corner[axis], corner[u], corner[v] = sign * half[axis], a * half[u], b * half[v]
                corners.append(corner)
                normals.append([sign * float(k == axis) for k in range(3)])
            start = len(corners) - 4
            order = (0, 1, 2, 3) if sign > 0 else (0, 3, 2, 1)
            faces += [[start + order[0], start + order[1], start + order[2]],
                      [start + order[0], start + order[2], start + order[3]]]  # fmt: skip
    points = (centre + centre.new_tensor(corners)) @ turn.T + shift_m
    return Solid(points, centre.new_tensor(normals) @ turn.T, torch.tensor(faces, device=centre.device),
                 colour.expand(2, 3), 0.15)  # fmt: skip
