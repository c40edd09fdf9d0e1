"""What people call the things in a room: names, kinds, purposes, colours and materials.

Every phrase is a noun phrase without its article. Keys are the words of `geoguide3d.scenes.rooms`; a test holds the
two together.
"""

from __future__ import annotations

NAMES: dict[str, tuple[str, ...]] = {  # category: what else it is called
    "wall": (),
    "floor": ("ground",),
    "ceiling": (),
    "door": ("doorway",),
    "window": ("windowpane",),
    "chair": (),
    "armchair": ("easy chair",),
    "stool": ("footstool",),
    "sofa": ("couch", "settee"),
    "table": ("dining table", "coffee table"),
    "desk": ("writing desk", "office desk"),
    "nightstand": ("bedside table", "night table"),
    "bed": (),
    "cushion": ("pillow",),
    "shelf": ("bookshelf", "bookcase", "rack"),
    "cabinet": ("cupboard", "dresser"),
    "box": ("carton", "cardboard box"),
    "bin": ("trash can", "waste basket", "garbage can", "rubbish bin"),
    "sink": ("washbasin", "basin"),
    "toilet": ("lavatory", "toilet bowl"),
    "bathtub": ("bath", "tub"),
    "refrigerator": ("fridge",),
    "oven": ("stove", "cooker"),
    "monitor": ("screen", "display", "computer screen"),
    "lamp": ("light",),
    "plant": ("potted plant", "houseplant"),
    "book": (),
    "vase": (),
    "rug": ("carpet", "mat"),
    "curtain": ("drapes",),
    "picture": ("painting", "framed picture", "poster"),
    "mirror": ("looking glass",),
}

KINDS: dict[str, tuple[str, ...]] = {  # a word for several categories: the categories
    "furniture": ("chair", "armchair", "stool", "sofa", "table", "desk", "nightstand", "bed", "shelf", "cabinet"),
    "seat": ("chair", "armchair", "stool", "sofa"),
    "appliance": ("refrigerator", "oven"),
    "bathroom fixture": ("sink", "toilet", "bathtub"),
    "decoration": ("picture", "plant", "vase"),
    "container": ("bin", "box"),
    "textile": ("rug", "curtain", "cushion"),
    "part of the building": ("wall", "floor", "ceiling", "door", "window"),
}

PURPOSES: dict[str, tuple[str, ...]] = {  # what follows "something": the categories
    "to sit on": ("chair", "armchair", "stool", "sofa"),
    "to sleep on": ("bed",),
    "to lie on": ("bed", "sofa"),
    "to eat at": ("table",),
    "to work at": ("desk",),
    "to write at": ("desk",),
    "that gives light": ("lamp",),
    "to store things": ("shelf", "cabinet"),
    "to put books on": ("shelf",),
    "to pack things in": ("box",),
    "to wash hands": ("sink",),
    "to take a bath": ("bathtub",),
    "to throw trash": ("bin",),
    "to put rubbish in": ("bin",),
    "to keep food cold": ("refrigerator",),
    "that keeps food cold": ("refrigerator",),
    "to bake in": ("oven",),
    "to cook on": ("oven",),
    "to watch": ("monitor",),
    "to read": ("book",),
    "to walk on": ("floor", "rug"),
    "to walk through": ("door",),
    "to look out of": ("window",),
    "to look at": ("picture",),
    "to see yourself in": ("mirror",),
    "to put flowers in": ("vase",),
    "that hangs on the wall": ("picture", "mirror"),
    "that hangs at the window": ("curtain",),
    "that grows": ("plant",),
    "with leaves": ("plant",),
    "soft": ("cushion",),
}

COLOR_NAMES: dict[str, tuple[str, ...]] = {"gray": ("grey",), "purple": ("violet",)}  # colour: other words for it

MATERIAL_NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # material: before the noun, after "made of"
    "wood": (("wooden", "wood"), ("wood", "timber")),
    "metal": (("metal", "metallic"), ("metal", "steel")),
    "fabric": (("fabric", "cloth"), ("fabric", "cloth")),
    "leather": (("leather",), ("leather",)),
    "ceramic": (("ceramic", "porcelain"), ("ceramic", "porcelain")),
    "plastic": (("plastic",), ("plastic",)),
    "glass": (("glass",), ("glass",)),
    "stone": (("stone",), ("stone",)),
    "paper": (("paper",), ("paper",)),
    "plaster": (("plastered", "plaster"), ("plaster",)),
    "tile": (("tiled",), ("tiles",)),
}

GENERIC = ("thing", "object", "item")
