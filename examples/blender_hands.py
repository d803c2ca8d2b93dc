"""Open a rig in Blender: the photo's camera, the clip's frames and rate, one light; then save it, render it, or both.

    blender --background --python examples/blender_hands.py -- rigs/clip.glb --save clip.blend
    blender --background --python examples/blender_hands.py -- rigs/clip.glb --render hand.png --frame 12
    blender --background --python examples/blender_hands.py -- rigs/clip.glb --render bones.png --bones

``--bones`` draws the bones as solid wedges in place of the skin. The last line printed is JSON: frames, camera, and
for each bone its parent, where it begins and where it ends. Blender 3.3 or newer; its Python has what this needs.
"""

import argparse
import json
import math
import struct
import sys
from typing import Any

import bpy
import numpy
from mathutils import Vector

if not hasattr(numpy, "bool"):
    setattr(numpy, "bool", bool)  # noqa: B010, which the importer of Blender up to 3.4 names, and NumPy 1.24 to 1.26 lack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rig")
    parser.add_argument("--fps", type=float, default=25.0, help="of the video")
    parser.add_argument("--save", metavar="FILE.blend")
    parser.add_argument("--render", metavar="FILE.png")
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--width", type=int, default=640, help="of the picture, pixels")
    parser.add_argument("--bones", action="store_true")
    options = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :])

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = round(options.fps), round(options.fps) / options.fps
    bpy.ops.import_scene.gltf(filepath=options.rig)
    rigs = [item for item in scene.objects if item.type == "ARMATURE"]
    set_frames(scene, rigs)
    set_camera(scene, options.rig, options.width)
    scene.frame_set(scene.frame_start + options.frame)
    light(scene)
    if options.bones:
        show_bones(scene, rigs)
    if options.save:
        bpy.ops.wm.save_as_mainfile(filepath=options.save)
    if options.render:
        render(scene, options.render)
    print(json.dumps(describe(scene, rigs)))


def set_frames(scene: Any, rigs: list[Any]) -> None:
    """The clip's first and last frame become the scene's."""
    ranges = [rig.animation_data.action.frame_range for rig in rigs if rig.animation_data and rig.animation_data.action]
    if ranges:
        scene.frame_start = math.floor(min(first for first, _ in ranges))
        scene.frame_end = math.ceil(max(last for _, last in ranges))
    else:
        scene.frame_start = scene.frame_end = 0


def set_camera(scene: Any, rig: str, width: int) -> None:
    """The file's camera becomes the active one; the picture gets the photo's shape."""
    aspect = 4 / 3
    camera = next((item for item in scene.objects if item.type == "CAMERA"), None)
    if camera is None:
        data = bpy.data.cameras.new("camera")
        camera = bpy.data.objects.new("camera", data)
        scene.collection.objects.link(camera)
        camera.location, camera.rotation_euler = (0.0, 0.5, 0.0), (math.radians(-90), 0.0, 0.0)
    else:
        with open(rig, "rb") as file:  # noqa: PTH123
            (length,) = struct.unpack_from("<I", file.read(20), 12)
            aspect = json.loads(file.read(length))["cameras"][0]["perspective"]["aspectRatio"]
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = width, round(width / aspect)


def light(scene: Any) -> None:
    lamp = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    lamp.data.energy = 1.5
    lamp.rotation_euler = (math.radians(60), math.radians(20), 0.0)
    scene.collection.objects.link(lamp)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0.45, 0.47, 0.5, 1.0)


def show_bones(scene: Any, rigs: list[Any]) -> None:
    """A wedge from each bone's head to its tail; armatures themselves are not rendered."""
    bpy.context.view_layer.update()
    for item in scene.objects:
        item.hide_render = item.type == "MESH"
    for rig in rigs:
        for bone in rig.pose.bones:
            head, tail = rig.matrix_world @ bone.head, rig.matrix_world @ bone.tail
            along = tail - head
            bpy.ops.mesh.primitive_cone_add(vertices=8, radius1=0.006, depth=along.length, location=(head + tail) / 2)
            wedge = bpy.context.object
            wedge.rotation_euler = along.to_track_quat("Z", "Y").to_euler()


def render(scene: Any, file: str) -> None:
    scene.render.engine = "CYCLES"  # needs no display
    scene.cycles.samples = 12
    scene.cycles.use_denoising = False
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = file
    bpy.ops.render.render(write_still=True)


def describe(scene: Any, rigs: list[Any]) -> dict[str, Any]:
    bones = [
        {
            "name": bone.name,
            "parent": bone.parent.name if bone.parent else None,
            "head": list(rig.matrix_world @ bone.head_local),
            "tail": list(rig.matrix_world @ bone.tail_local),
            "x": list((rig.matrix_world.to_3x3() @ bone.matrix_local.to_3x3() @ Vector((1, 0, 0))).normalized()),
        }
        for rig in rigs
        for bone in rig.data.bones
    ]
    return {"frames": [scene.frame_start, scene.frame_end], "camera": scene.camera.name, "bones": bones}


main()
