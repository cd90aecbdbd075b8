"""Other tools' files, the reader beside the writer: COCO, YOLO, image folders, label maps, labelled folders."""
