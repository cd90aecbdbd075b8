"""The faults that people met in version 0.7, each with the tests that fail where it comes back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FAULTS = {
    "typing words and pressing Q or Enter does nothing": (
        "app/page/test_words.py::test_enter_runs_and_leaves_the_field",
        "app/page/test_words.py::test_escape_leaves_the_field_and_q_runs_from_anywhere",
    ),
    "the image moves under the pointer": ("app/page/test_layout.py::test_nothing_moves_the_image",),
    "a name left in a field labels other masks": (
        "app/ui/test_masks.py::test_a_name_given_to_a_click_labels_nothing_else",
        "app/page/test_clicks.py::test_a_mask_is_kept_under_the_name_on_screen_and_never_without",
    ),
    "a model is judged by its own answers": (
        "core/session/test_finetuning.py::test_a_model_is_not_judged_by_masks_that_a_model_proposed",
    ),
    "a run that is alive is called interrupted": (
        "core/project/test_finetune_runs.py::test_a_run_whose_process_lives_is_never_called_interrupted",
        "core/session/test_finetuning.py::test_the_status_is_read_again_while_a_run_may_report_progress",
    ),
    "the busy sign goes before the answer comes, and the answer is lost": (
        "app/page/test_words.py::test_an_answer_that_comes_late_goes_to_its_image",
        "app/page/test_words.py::test_stop_ends_the_wait",
    ),
    "the same click twice makes two masks": (
        "core/session/test_session.py::test_a_clicked_mask_is_accepted_once_under_one_name",
    ),
    "proposals are lost by turning the image or reloading": (
        "app/ui/test_masks.py::test_proposals_of_words_are_stored_until_somebody_decides",
        "app/page/test_review.py::test_above_a_certainty",
    ),
    "fast clicks are dropped": ("app/page/test_clicks.py::test_six_clicks_within_100_ms_are_six_points",),
    "any Host and Origin is answered": ("app/ui/test_security.py::test_other_host_names_and_sites_are_refused",),
    "one request takes all memory and cannot be stopped": (
        "app/ui/test_malformed.py::test_malformed_requests_are_refused_with_a_sentence_and_change_nothing",
        "app/ui/test_live.py::test_a_client_that_leaves_stops_the_model_within_a_second",
    ),
    "true deletes mask 1; malformed requests get no sentence": (
        "app/ui/test_malformed.py::test_malformed_requests_are_refused_with_a_sentence_and_change_nothing",
    ),
    "colours of classes collide, and no name is on the image": (
        "app/ui/test_classes.py::test_colours_of_many_classes_differ",
        "app/page/test_review.py::test_names_are_text_wherever_they_are_shown",
    ),
    "only one missing class is named": (
        "app/page/test_words.py::test_every_word_without_a_mask_is_named",
        "app/ui/test_masks.py::test_proposals_of_words_are_stored_until_somebody_decides",
    ),
    "everything that finds nothing speaks of a click": (
        "app/ui/test_masks.py::test_everything_replaces_only_what_everything_found",
    ),
    "an image whose file is missing shows another image": (
        "app/page/test_layout.py::test_an_image_whose_file_is_missing_says_so_and_shows_no_other",
    ),
    "everybody is the same annotator, and passwords may be guessed": (
        "app/ui/test_security.py::test_the_login_name_is_the_annotator_and_undo_is_of_each_person",
        "app/ui/test_security.py::test_wrong_passwords_are_throttled",
        "app/ui/test_security.py::test_nothing_is_answered_without_a_login",
        "app/test_serving.py::test_the_address_that_is_printed_can_be_opened",
    ),
    "a preset that does not exist is ready": (
        "app/test_serving.py::test_a_taken_port_an_open_address_and_a_missing_preset_are_one_sentence",
    ),
    "long class names cover what is beside them": (
        "app/ui/test_classes.py::test_add_change_order_and_undo",
        "app/page/test_layout.py::test_a_long_name_stays_in_its_column",
    ),
    "two windows on one mask overwrite each other": (
        "walks/test_browser.py::test_two_people_on_one_mask_never_overwrite_each_other",
    ),
}


@pytest.mark.parametrize("tests", FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_test(tests: tuple[str, ...]) -> None:
    for test in tests:
        file, name = test.split("::")
        tree = ast.parse((Path(__file__).parents[1] / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
