"""Stand-in pictures, painted with Pillow from the hash of the prompt.

Rules: the same request gives the same bytes, on any machine with the same Pillow; painting never runs on the event
loop; every picture carries a caption that says what it is. It refuses to pass for the work of a model.
"""

from openai_images.server.paint.painter import PictureSpec, Studio, develop, paint_canvas

__all__ = ["PictureSpec", "Studio", "develop", "paint_canvas"]
