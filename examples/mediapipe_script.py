"""A script as MediaPipe's users write it, run by GraphHand: only the import of ``mp`` differs.

    python examples/mediapipe_script.py examples/images/*.jpg

It draws each photo's hands into ``NAME_landmarks.png`` in the current folder and prints a line of JSON a photo. With
``import mediapipe as mp`` it runs on MediaPipe; ``benchmarks/compat_mediapipe.py`` runs it both ways.
"""

import json
import sys
from pathlib import Path

import cv2

import graphhand.compat.mediapipe as mp

mp_hands = mp.solutions.hands
mp_drawing = mp.solutions.drawing_utils
mp_drawing_styles = mp.solutions.drawing_styles

with mp_hands.Hands(static_image_mode=True, max_num_hands=2, min_detection_confidence=0.5) as hands:
    for name in sys.argv[1:]:
        image = cv2.imread(name)
        if image is None:
            sys.exit(f"{name}: not a readable photo; give JPEG or PNG files")
        results = hands.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        found = []
        for landmarks, world, handedness in zip(
            results.multi_hand_landmarks or [],
            results.multi_hand_world_landmarks or [],
            results.multi_handedness or [],
        ):
            tip = landmarks.landmark[mp_hands.HandLandmark.INDEX_FINGER_TIP]
            found.append(
                {
                    "label": handedness.classification[0].label,
                    "index_tip_px": [tip.x * image.shape[1], tip.y * image.shape[0]],
                    "landmarks": [[point.x, point.y, point.z] for point in landmarks.landmark],
                    "world": [[point.x, point.y, point.z] for point in world.landmark],
                }
            )
            mp_drawing.draw_landmarks(
                image,
                landmarks,
                mp_hands.HAND_CONNECTIONS,
                mp_drawing_styles.get_default_hand_landmarks_style(),
                mp_drawing_styles.get_default_hand_connections_style(),
            )
        cv2.imwrite(f"{Path(name).stem}_landmarks.png", image)
        print(json.dumps({"image": name, "size": image.shape[1::-1], "hands": found}))
