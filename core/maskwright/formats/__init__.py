"""Files of other tools, each reader beside its writer: COCO, YOLO, image folders, label maps, labelled folders."""
