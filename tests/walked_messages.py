# ruff: noqa: E501
"""The messages of `tests/test_messages.py`, by the test that walks the way out that each names."""

WALKED = {
    "tests/conversion/detection/test_beside.py": {
        "test_a_family_without_a_packaged_vocabulary_is_told_of_the_one_beside": (
            "conversion/detection/beside.py refuse_other_vocabulary: , and nothing",
        ),
        "test_a_file_of_another_kind_beside_it_is_asked_about_and_the_packaged_one_is_the_way_out": (
            "conversion/detection/beside.py refuse_other_vocabulary: and can't be",
        ),
        "test_a_named_folder_whose_setting_is_not_heeded_is_asked_about_and_its_words_alone_are_the_way_out": (
            "conversion/detection/beside.py refuse_unheeded_settings",
        ),
        "test_another_vocabulary_beside_a_file_is_asked_about_and_both_ways_out_are_taken": (
            "conversion/detection/beside.py refuse_other_vocabulary: if",
            "conversion/detection/beside.py refuse_other_vocabulary: for the packaged",
        ),
    },
    "tests/conversion/detection/test_prefixes.py": {
        "test_of_two_models_both_prefixes_are_named_and_none_is_guessed": ("conversion/detection/prefixes.py words",),
        "test_what_a_message_says_works_behind_a_wrapper_too": ("conversion/detection/prefixes.py without_empty",),
    },
    "tests/conversion/exports/test_exporting.py": {
        "test_force_does_not_replace_the_original": ("conversion/exports/exporting.py _refuse_original",),
        "test_the_code_that_loads_a_folder_runs": ("conversion/exports/natives.py TORCHVISION",),
    },
    "tests/conversion/exports/test_source_files.py": {
        "test_facts_that_lie_beside_the_weights_and_are_not_named_are_asked_about": (
            "conversion/detection/beside.py refuse_unread_facts",
        ),
        "test_files_whose_facts_lie_beside_are_converted_by_the_command_that_is_told": (
            "conversion/exports/source_files.py differences",
        ),
    },
    "tests/conversion/proof/test_added_tokens.py": {
        "test_rows_up_to_a_multiple_of_512_are_told_a_way_out_that_works": (
            "conversion/repos/prepared.py _refuse_wide_padding",
            "conversion/repos/prepared.py _cut",
            "conversion/repos/prepared.py PACKAGED",
        ),
        "test_words_added_beside_an_xlm_roberta_are_refused_where_its_tokenizer_json_lacks_them": (
            "conversion/tokenizers/builders.py _check_xlm_roberta_tokens",
        ),
    },
    "tests/conversion/publishing/test_noting.py": {
        "test_figures_are_noted_in_a_folder_alone_and_the_folder_is_the_way_out": (
            "conversion/publishing/noting.py check_noting",
        ),
    },
    "tests/conversion/publishing/test_publish.py": {
        "test_a_card_that_was_edited_on_the_hub_is_kept_and_named": ("conversion/publishing/pushed.py Pushed._notes",),
    },
    "tests/conversion/reading/test_hints.py": {
        "test_a_byte_order_mark_in_front_of_a_vocabulary_goes_by_what_the_message_says": (
            "conversion/tokenizers/vocabularies.py _text",
        ),
        "test_a_weight_file_that_is_a_dangling_link_is_called_so": ("conversion/reading/hints.py dangling",),
    },
    "tests/conversion/reading/test_wrappers.py": {
        "test_of_a_deepspeed_checkpoint_in_parts_the_folder_of_the_script_is_named": (
            "conversion/reading/read.py _read_deepspeed: is a DeepSpeed",
            "conversion/reading/read.py _read_deepspeed: ; a single",
            "conversion/reading/wrappers.py OWN_SCRIPT",
        ),
        "test_the_choice_of_an_average_reaches_repo_report_and_every_command": (
            "conversion/inspection.py Inspection.summary",
        ),
    },
    "tests/conversion/repos/test_own_code.py": {
        "test_push_says_in_one_line_how_a_reader_loads_what_it_publishes": (
            "conversion/publishing/pushed.py Pushed._door: , trust_remote_code=True). After",
            "conversion/publishing/pushed.py Pushed._door: The repo holds",
        ),
        "test_verify_and_push_name_the_same_file_of_no_version_and_take_the_folder_without_it": (
            "conversion/repos/own_code.py _way_out: No converted repo",
        ),
    },
    "tests/conversion/repos/test_scale.py": {
        "test_a_scale_that_was_exponentiated_is_refused_and_its_logarithm_is_the_way_out": (
            "conversion/repos/scale.py PLACE",
        ),
    },
    "tests/conversion/sources/test_bert_from_clip.py": {
        "test_it_is_not_exported_and_the_way_out_is_named": ("conversion/exports/exporting.py _SAVE_TOWER",),
    },
    "tests/conversion/sources/test_hf_clip.py": {
        "test_an_end_that_the_tokenizer_does_not_give_is_refused_and_the_named_field_is_the_way_out": (
            "conversion/repos/prepared.py _check_end: in the text_config",
            "conversion/repos/prepared.py _check_end: , its last",
        ),
    },
    "tests/conversion/test_finetuned.py": {
        "test_a_model_type_that_was_edited_is_written_back_as_the_message_says": (
            "conversion/finetuned.py _refuse_other_model",
        ),
        "test_rows_that_were_added_are_removed_as_the_message_says": (
            "conversion/repos/differences.py HINTS: The number of",
        ),
        "test_the_command_that_a_message_names_is_a_way_out": (
            "conversion/publishing/packing.py pack: Push OUT, or",
            "conversion/repos/repo.py _tokenizer",
            "conversion/repos/repo.py _processor: has no processor_config.json,",
            "conversion/repos/report.py read_report: , which names",
            "conversion/repos/report.py read_report: has an unknown",
            "conversion/repos/report.py read_report: is no valid",
            "conversion/ways_out.py finishing",
            "conversion/ways_out.py finish_it",
        ),
        "test_the_commands_of_a_card_and_of_inspect_are_ways_out": (
            "conversion/detection/detect.py _refuse_converted",
        ),
        "test_trained_weights_are_not_compared_with_an_original": (
            "conversion/proof/verification.py _refuse_original",
        ),
    },
    "tests/conversion/test_namesakes.py": {
        "test_what_the_message_names_makes_the_folder_load": (
            "src/hf_zhclip/configuration_zhclip.py NAMESAKES: is a repo",
            "src/hf_zhclip/configuration_zhclip.py NAMESAKES: OUT`, which writes",
            "src/hf_zhclip/configuration_zhclip.py other_image_processor",
        ),
    },
    "tests/conversion/test_trainings.py": {
        "test_what_each_engine_saves_is_finished_pushed_and_loaded_by_a_stranger": (
            "conversion/detection/relatives.py OF_NO_FAMILY",
            "conversion/reading/read.py MERGE",
        ),
    },
    "tests/conversion/test_ways_out.py": {
        "a_bert_s_vocabulary_is_passed": (
            "conversion/detection/parts.py witness_vocabulary",
            "conversion/tokenizers/builders.py bert_tokenizer",
        ),
        "a_checkpoint_that_was_zipped_again_is_fetched": ("conversion/reading/archive.py Archive._stored_entry",),
        "a_class_in_config_json_is_corrected": (
            "conversion/detection/detect.py _named: whose model computes",
            "conversion/detection/detect.py _named: . The two",
        ),
        "a_clip_s_vocabulary_is_passed": ("conversion/tokenizers/builders.py clip_tokenizer",),
        "a_config_beside_a_config_is_left_out": ("conversion/detection/parts.py _facts",),
        "a_config_json_is_passed_as_a_file": ("conversion/layouts/hf_config.py check_there",),
        "a_config_json_that_contradicts_the_text_tower_is_replaced": ("conversion/layouts/hf_config.py tower_config",),
        "a_config_json_that_is_cut_is_fetched_again": ("src/hf_zhclip/json_files.py FETCH",),
        "a_config_json_without_a_tower_is_replaced": ("conversion/layouts/hf_config.py _check_kind",),
        "a_config_that_contradicts_openai_s_model_is_replaced": ("conversion/sources/openai_clip.py _check_beside",),
        "a_damaged_vocabulary_is_fetched_again": (
            "conversion/tokenizers/vocabularies.py read_openai_bpe: is no gzip",
            "conversion/tokenizers/vocabularies.py read_openai_bpe: . The file",
            "conversion/tokenizers/vocabularies.py _check_merges: does not hold",
            "conversion/tokenizers/vocabularies.py _check_merges: ). The merges",
            "conversion/tokenizers/vocabularies.py _check_ids",
        ),
        "a_family_without_a_packaged_vocabulary_gets_its_own": ("conversion/detection/beside.py packaged",),
        "a_file_of_sentence_transformers_is_fetched": (
            "conversion/reading/modules_json.py projection",
            "conversion/reading/modules_json.py _check_there",
        ),
        "a_file_that_is_cut_is_fetched_again": (
            "conversion/reading/containers.py _load_safetensors",
            "conversion/reading/archive.py Archive._check",
            "conversion/reading/archive.py Archive.flat",
            "conversion/reading/containers.py _load_zip",
            "conversion/reading/containers.py _told",
            "conversion/reading/distributed.py Folder.__init__",
            "conversion/reading/distributed.py Folder.load",
            "conversion/reading/distributed.py Folder._check_bytes",
            "conversion/reading/distributed.py _check",
            "conversion/reading/numpy_pickle.py load",
            "conversion/reading/torchscript.py load",
        ),
        "a_format_that_reads_no_files_beside_is_left_out": ("conversion/detection/detect.py _refuse_beside",),
        "a_length_of_texts_within_the_limits_is_taken": ("conversion/pipeline.py _longest_text",),
        "a_pair_of_two_widths_gets_the_text_tower_s_own_clip": ("conversion/pipeline.py _pair_fields",),
        "a_pair_without_a_scale_gets_the_whole_clip": ("conversion/detection/parts.py describe",),
        "a_foreign_folder_is_moved_out_of_what_would_be_replaced": (
            "src/hf_zhclip/staging.py _refuse_existing: , so --force",
        ),
        "a_place_around_the_report_is_another": ("src/hf_zhclip/staging.py check_apart: delete both",),
        "a_second_config_is_fetched": ("conversion/reading/read.py _config_files",),
        "a_setting_is_written_into_tokenizer_config_json": ("conversion/tokenizers/builders.py _check_bert_folder",),
        "a_shard_size_of_the_message_is_taken": ("conversion/repos/write.py check_shard_size",),
        "a_size_of_a_prd2_is_corrected": ("conversion/layouts/unstated.py _stated: . Correct these",),
        "a_text_tower_alone_gets_its_image_tower": (
            "conversion/detection/parts.py _parts: : a text",
            "conversion/detection/parts.py _example",
        ),
        "a_tokenizer_json_that_is_missing_is_fetched": ("conversion/tokenizers/vocabularies.py read_unigram",),
        "a_tokenizer_that_the_library_cannot_read_is_another": (
            "conversion/tokenizers/builders.py _read_by_the_library",
        ),
        "a_vocabulary_that_is_too_large_is_another": (
            "conversion/pipeline.py _tokenizer",
            "conversion/repos/prepared.py OTHER_VOCABULARY",
            "conversion/repos/prepared.py _check_ids: words, but the",
            "conversion/repos/prepared.py _check_ids: The tokenizer gives",
            "conversion/repos/prepared.py _check_ids: does not give",
            "conversion/repos/prepared.py _check_ids: the model pads",
        ),
        "a_web_page_is_fetched_again": ("conversion/reading/containers.py _not_a_checkpoint",),
        "a_width_that_is_not_openai_s_is_open_clip_s": ("conversion/sources/openai_clip.py _heads",),
        "a_wukong_s_heads_are_corrected": (
            "conversion/sources/wukong.py _variant: ; a whole",
            "conversion/sources/wukong.py _variant: ; wanted a",
        ),
        "a_wukong_s_similarity_is_true_or_false": ("conversion/sources/wukong.py _variant: ; true or",),
        "a_wukong_s_text_is_an_object": ("conversion/sources/wukong.py _variant: ; an object",),
        "a_wukong_s_vocabulary_is_passed": ("conversion/sources/wukong.py tokenizer",),
        "an_ema_without_a_choice_is_left_out": ("conversion/reading/read.py check_ema",),
        "an_eps_of_a_prd2_is_corrected": (
            "conversion/layouts/unstated.py _check: ; a number",
            "conversion/layouts/unstated.py _check: The",
        ),
        "an_image_part_is_a_clip_model_s_folder": ("conversion/detection/parts.py _image_part",),
        "an_image_tower_alone_is_passed_beside_a_text_tower": ("conversion/detection/parts.py _parts: , but holds",),
        "an_open_clip_s_config_is_passed": ("conversion/layouts/open_clip.py facts",),
        "an_open_clip_s_config_is_taken_from_the_same_model": (
            "conversion/layouts/open_clip.py check_sizes",
            "conversion/sources/open_clip_xlm_roberta.py _check_projection",
        ),
        "an_openai_file_that_contradicts_itself_is_fetched_again": (
            "conversion/sources/openai_clip.py _check_scalars",
        ),
        "an_unknown_field_is_corrected": ("conversion/layouts/cn_clip.py check_fields",),
        "an_xlm_roberta_s_vocabulary_is_passed": ("conversion/tokenizers/builders.py xlm_roberta_tokenizer",),
        "another_length_of_texts_is_taken": (
            "conversion/sources/chinese_clip.py LIMITS",
            "conversion/sources/easynlp.py LIMITS",
            "conversion/sources/taiyi_clip.py LIMITS",
        ),
        "another_place_of_a_report_is_chosen": ("conversion/pipeline.py _check_report: exists already, and",),
        "facts_beside_an_openai_file_are_left_out": ("conversion/sources/openai_clip.py describe",),
        "facts_of_a_cn_clip_are_written_into_a_file": ("conversion/layouts/cn_clip.py _refuse_unstated",),
        "facts_of_a_prd2_are_written_into_a_file": (
            "conversion/layouts/unstated.py PUBLISHED",
            "conversion/layouts/unstated.py _refuse_unstated",
            "conversion/sources/taiyi_finetune.py LIMITS",
        ),
        "facts_of_a_prd2_in_place_of_an_object_are_corrected": (
            "conversion/layouts/unstated.py _stated: ; an object",
        ),
        "facts_of_a_wukong_are_written_into_a_file": ("conversion/sources/wukong.py _variant: is not a",),
        "heads_of_a_prd2_that_are_no_number_are_corrected": ("conversion/layouts/unstated.py _check: ; a whole",),
        "heads_of_a_prd2_that_do_not_divide_are_corrected": ("conversion/layouts/unstated.py _check: ; wanted a",),
        "keys_of_openai_or_open_clip_are_open_clip_s": ("conversion/sources/open_clip.py UNDECIDED",),
        "keys_of_openai_or_open_clip_are_openai_s": ("conversion/sources/openai_clip.py UNDECIDED",),
        "keys_that_do_not_decide_are_decided_by_the_named_format": (
            "conversion/detection/detect.py _choose",
            "conversion/inspection.py VERDICTS",
        ),
        "modules_are_taken_from_the_same_folder": ("conversion/sources/sentence_transformers.py _check_sizes",),
        "of_two_sets_of_weights_the_raw_ones_are_taken": ("conversion/reading/read.py choose: . The two",),
        "one_set_of_weights_is_saved": ("conversion/reading/wrappers.py _dotted",),
        "one_state_dict_is_saved_alone": ("conversion/reading/wrappers.py _wrapper",),
        "shards_that_are_missing_are_fetched": ("conversion/reading/read.py _read_shards",),
        "sparse_tensors_are_saved_after_to_dense": ("conversion/reading/read.py KINDS",),
        "the_base_s_config_is_passed": ("conversion/sources/multilingual_clip.py _tower",),
        "the_folder_of_a_report_is_made": ("conversion/pipeline.py _check_report: : the folder",),
        "weights_that_are_no_numbers_are_converted_anyway": ("conversion/repos/write.py write_weights",),
        "what_exists_is_replaced_by_force": ("src/hf_zhclip/staging.py _refuse_existing: or pass --force",),
        "widths_of_a_multilingual_clip_are_taken_from_the_same_folder": (
            "conversion/sources/multilingual_clip.py _check_sizes",
        ),
    },
    "tests/conversion/test_pipeline.py": {
        "test_force_replaces_a_report_and_no_other_file_in_its_place": (
            "conversion/pipeline.py _check_report: exists already and is no report",
        ),
    },
    "tests/conversion/test_ways_out_of_repos.py": {
        "test_a_base_that_cannot_be_fetched_is_passed": ("conversion/layouts/bases.py base_file",),
        "test_a_base_that_was_changed_is_converted_again_by_its_own_command": (
            "conversion/repos/lineage.py base_named: ). Name the",
        ),
        "test_a_card_that_a_person_wrote_is_replaced_by_force_and_in_utf_8": (
            "conversion/publishing/card_file.py read_card",
            "conversion/publishing/cards.py check_writable: was not written",
        ),
        "test_a_checkpoint_in_parts_is_downloaded_by_the_hub_s_command_and_its_folder_is_named": (
            "conversion/reading/hub.py _refuse_parts",
        ),
        "test_a_folder_with_a_changed_file_is_finished_from_its_base": (
            "conversion/proof/stated_modules.py stated_modules",
            "conversion/proof/stated_modules.py _modules",
            "conversion/proof/stated_modules.py _methods: states unpad_inputs true,",
            "conversion/proof/stated_modules.py _methods: which may change",
            "conversion/proof/stated_modules.py _method",
            "conversion/proof/stated_modules.py _prompt: , which encode_query",
            "conversion/proof/stated_modules.py _prompt: , but does",
            "conversion/repos/report.py check_formats",
            "conversion/repos/own_code.py _way_out: ). REPO is",
            "conversion/repos/prepared.py check_tokenizer: , and padding",
            "conversion/repos/prepared.py check_tokenizer: ; wanted zeros,",
        ),
        "test_a_head_of_a_first_multilingual_clip_is_put_into_the_folder": (
            "conversion/reading/companions.py LEGACY_HEAD",
        ),
        "test_a_name_is_taken_from_what_list_prints": ("conversion/reading/hub.py locate",),
        "test_a_repo_that_is_converted_already_is_trained_and_finished_with_itself_as_base": (
            "conversion/repos/lineage.py _left_in",
        ),
        "test_a_user_who_is_not_logged_in_sets_a_token": (
            "conversion/publishing/uploading.py _check_login",
            "conversion/reading/hub.py _download",
            "conversion/reading/hub_errors.py _no_repo",
            "conversion/reading/hub_errors.py _gated",
            "conversion/reading/hub_errors.py _no_login",
            "conversion/reading/hub_errors.py _forbidden",
        ),
        "test_a_vocabulary_of_the_repo_is_passed_beside_its_original": (
            "conversion/proof/verification.py _check_vocabulary",
        ),
        "test_a_vocabulary_without_lines_goes_without_the_files_of_older_readers": (
            "conversion/repos/doors.py _vocabulary_lines: , each once,",
            "conversion/repos/doors.py _vocabulary_lines: holds a line",
        ),
        "test_all_keys_of_a_file_are_printed_by_inspect": ("conversion/mapping.py _table",),
        "test_an_adapter_in_memory_is_merged_as_the_message_says": ("conversion/reading/read.py MERGE_IN_MEMORY",),
        "test_an_original_beside_a_base_is_converted_without_it": ("conversion/finetuned.py _checked",),
        "test_an_original_in_place_of_the_base_is_converted_first": (
            "conversion/repos/lineage.py base_named: Name the converted",
        ),
        "test_an_original_is_converted_first": (
            "conversion/proof/verification.py verify: repo: it has",
            "conversion/proof/verification.py verify: converted repo: its",
            "conversion/publishing/cards.py check_writable: is no converted",
            "conversion/repos/repo.py read_repo",
            "conversion/repos/repo.py _check_config",
            "conversion/ways_out.py refuse_no_folder",
        ),
        "test_an_original_that_is_loaded_is_converted_by_the_command_of_the_message": (
            "src/hf_zhclip/configuration_zhclip.py _family",
            "src/hf_zhclip/configuration_zhclip.py _unconverted",
        ),
        "test_another_length_of_texts_is_converted_from_the_original": (
            "conversion/repos/differences.py HINTS: To change the",
        ),
        "test_another_original_is_replaced_by_the_repo_s_own": ("conversion/proof/verification.py _check_sides",),
        "test_facts_beside_the_base_are_left_out": (
            "conversion/pipeline.py _refuse_facts: , which --base",
            "conversion/pipeline.py _refuse_facts: is an original",
        ),
        "test_files_of_another_repo_are_taken_from_the_same_folder": (
            "conversion/repos/repo.py _check_layers",
            "conversion/repos/repo.py _processor: pixels. Take model",
        ),
        "test_the_arguments_of_a_push_are_those_of_the_message": (
            "conversion/publishing/publish.py _check_arguments: does not name",
            "conversion/publishing/publish.py _check_arguments: is no branch.",
            "conversion/publishing/publish.py _check_arguments: is a pull",
        ),
        "test_the_arguments_of_an_export_are_those_of_the_message": (
            "conversion/exports/exporting.py _check_arguments: ; wanted transformers,",
            "conversion/exports/exporting.py _check_arguments: --also-legacy writes files",
            "conversion/exports/exporting.py _check_arguments: --max-shard-size does not",
            "conversion/exports/exporting.py _check_arguments: --ddp writes keys",
            "conversion/exports/exporting.py _check_arguments: writes a folder.",
            "conversion/exports/onnx/asking.py check_asked: is an option of ONNX.",
            "conversion/exports/onnx/asking.py check_asked: There is no --precision",
            "conversion/exports/onnx/asking.py check_asked: There is no --layout",
            "conversion/exports/onnx/graphs.py check_exporter: cannot be written;",
        ),
        "test_the_command_that_sees_more_than_verify_is_run": ("conversion/proof/verification.py unseen",),
        "test_what_transformers_js_does_not_hold_is_exported_in_the_plain_layout": (
            "conversion/exports/onnx/transformers_js.py PLAIN_INSTEAD",
        ),
        "test_what_cannot_go_to_its_source_goes_to_the_class_that_the_message_names": (
            "conversion/exports/source_files.py _instead",
        ),
        "test_what_is_no_folder_of_convert_is_not_pushed": ("conversion/publishing/packing.py pack: is no folder.",),
    },
    "tests/conversion/exports/onnx/test_precisions.py": {
        "test_a_resnet_is_refused_in_dynamic_int8_and_taken_in_static": (
            "conversion/exports/onnx/precisions.py _NOT_TAKEN",
        ),
        "test_int8_says_that_its_loss_is_not_measured_until_it_is_measured_or_accepted": (
            "conversion/exports/onnx/asking.py _check_loss_asked: not measured on your data",
        ),
        "test_too_large_a_loss_on_the_users_data_is_refused_with_its_figures_until_it_is_accepted": (
            "conversion/exports/onnx/costs.py check_loss",
        ),
        "test_what_the_refused_options_name_is_exported": (
            "conversion/exports/onnx/asking.py _check_loss_asked: is an option of int8",
            "conversion/exports/onnx/asking.py _check_loss_asked: are the same data",
        ),
    },
    "tests/conversion/exports/onnx/test_transformers_js.py": {
        "test_another_precision_is_refused_there_and_without_it_the_export_goes_on": (
            "conversion/exports/onnx/asking.py check_asked: writes {FLOAT32}.",
        ),
    },
    "tests/conversion/tokenizers/test_builders.py": {
        "test_a_class_that_cannot_be_taken_is_told_a_way_out_that_works": (
            "conversion/tokenizers/builders.py slow_bert_tokenizer",
        ),
    },
    "tests/data/test_preparing.py": {
        "test_an_existing_folder_stays_without_force_and_a_foreign_folder_with_it": (
            "src/hf_zhclip/staging.py check_apart: is read, too",
        ),
    },
    "tests/data/test_reading.py": {
        "test_of_several_splits_one_has_to_be_named": ("src/hf_zhclip/data/reading.py _one",),
    },
    "tests/data/test_ways_out.py": {
        "a_blind_split_is_left_out_or_written_without_pairs": (
            "src/hf_zhclip/data/preparing.py _check_answers: this is a blind",
        ),
        "a_comma_in_a_field_is_put_into_quotes": (
            "src/hf_zhclip/data/readers/captions_file.py _csv_rows: into quotes",
        ),
        "a_csv_of_gbk_that_is_utf_8_by_chance_is_saved_as_utf_8": (
            "src/hf_zhclip/data/captioned.py _refuse_missing: in GBK",
        ),
        "a_csv_of_gbk_is_saved_as_utf_8": ("src/hf_zhclip/data/readers/captions_file.py _csv_rows: is no UTF-8",),
        "a_divided_input_is_divided_in_one_split_or_not_at_all": (
            "src/hf_zhclip/data/preparing.py _check_answers: divided already",
        ),
        "a_line_of_other_characters_is_written_again": (
            "src/hf_zhclip/data/readers/tsv_files.py _parts: no character",
        ),
        "a_line_that_never_ends_is_written_again": ("src/hf_zhclip/data/readers/tsv_files.py _scanned",),
        "a_line_without_a_tab_is_written_again": ("src/hf_zhclip/data/readers/tsv_files.py _parts: parts between",),
        "a_place_of_two_formats_is_read_as_the_stated_one": ("src/hf_zhclip/data/reading.py format_of",),
        "an_id_of_gbk_is_saved_as_utf_8": ("src/hf_zhclip/data/readers/tsv_files.py _named",),
        "an_lmdb_that_is_damaged_is_written_again": ("src/hf_zhclip/data/readers/lmdb_folder.py AGAIN",),
        "captions_of_no_format_become_a_csv_or_a_jsonl": ("src/hf_zhclip/data/readers/captions_file.py FORMAT",),
        "captions_of_no_format_become_taiyi_s": ("src/hf_zhclip/data/readers/taiyi_captions.py FORMAT",),
        "pictures_of_a_folder_without_captions_are_left_out_or_the_captions_named": (
            "src/hf_zhclip/data/readers/picture_folder.py read",
        ),
        "pictures_of_a_format_that_holds_its_own_are_left_out": ("src/hf_zhclip/data/reading.py _chosen",),
        "pictures_that_are_missing_are_added_or_found_or_left_out": (
            "src/hf_zhclip/data/captioned.py _refuse_missing: Add the pictures",
        ),
        "pictures_without_texts_are_renamed_or_get_captions": ("src/hf_zhclip/data/readers/picture_folder.py MEND",),
        "splits_of_the_same_name_are_taken_one_by_one": ("src/hf_zhclip/data/writers/parquet_files.py _names",),
        "taiyi_s_captions_of_gbk_are_saved_as_utf_8": ("src/hf_zhclip/data/readers/taiyi_captions.py _rows",),
    },
    "tests/evaluation/test_lists.py": {
        "test_a_cn_clip_that_is_not_installed_is_installed_or_a_file_is_named": (
            "src/hf_zhclip/evaluation/lists.py _installed_lists",
        ),
    },
    "tests/evaluation/test_evaluating.py": {
        "test_a_folder_that_an_evaluation_wrote_is_replaced_with_force_alone": (
            "src/hf_zhclip/evaluation/evaluating.py evaluate: --force",
        ),
        "test_a_feature_of_zeros_is_refused_and_scored_as_cn_clip_does_on_request": (
            "src/hf_zhclip/evaluation/files.py read_features",
        ),
    },
    "tests/evaluation/test_ways_out.py": {
        "a_batch_is_one_or_more": ("src/hf_zhclip/evaluation/encoding.py _check_options: --batch-size",),
        "a_device_that_is_not_there_becomes_cpu": ("src/hf_zhclip/inference/loading.py check_device",),
        "a_length_is_within_the_stated_ones": ("src/hf_zhclip/inference/loading.py _check_length",),
        "a_folder_that_does_not_load_becomes_a_converted_repo": ("src/hf_zhclip/inference/loading.py _loading",),
        "a_place_that_does_not_exist_becomes_a_converted_repo": ("src/hf_zhclip/inference/loading.py check_place",),
        "a_repo_that_lacks_weights_is_converted_again": ("src/hf_zhclip/inference/loading.py _load",),
        "a_tower_becomes_a_whole_repo": ("src/hf_zhclip/inference/loading.py _config: holds the model",),
        "an_original_is_converted": ("src/hf_zhclip/inference/loading.py _config: a folder was",),
        "both_files_are_taken_from_the_same_split": ("src/hf_zhclip/evaluation/retrieval.py _check_known",),
        "features_take_the_place_of_predictions": (
            "src/hf_zhclip/evaluation/evaluating.py _check_inputs: no cosines",
        ),
        "names_of_gbk_are_saved_as_utf_8": ("src/hf_zhclip/evaluation/lists.py _text",),
        "test_a_broken_picture_is_left_out_by_zhclip_data": ("src/hf_zhclip/data/split.py Pictures.__getitem__",),
        "test_ids_that_are_no_numbers_are_numbered_by_the_command_of_the_message": (
            "src/hf_zhclip/evaluation/evaluating.py _cn_clip_files",
        ),
        "test_vectors_that_are_not_finite_are_looked_into_by_verify": (
            "src/hf_zhclip/inference/embedder.py Embedder._computed",
        ),
        "the_class_names_or_the_threshold_is_left_out": ("src/hf_zhclip/evaluation/evaluating.py _work",),
        "the_folder_of_a_split_is_named": ("src/hf_zhclip/evaluation/evaluating.py _check_inputs: split's folder",),
        "the_split_of_labelled_pairs_is_left_out": ("src/hf_zhclip/evaluation/evaluating.py _of_labelled_pairs",),
    },
    "tests/test_configuration_zhclip.py": {
        "test_a_config_json_that_makes_transformers_load_something_else_is_refused": (
            "src/hf_zhclip/configuration_zhclip.py ZhCLIPConfig.from_dict: which makes",
            "src/hf_zhclip/configuration_zhclip.py ZhCLIPConfig.from_dict: holds its weights",
        ),
    },
    "tests/training/test_sharded.py": {
        "test_version_1_of_fsdp_is_refused_and_version_2_is_taken": (
            "src/hf_zhclip/training/sharding.py make_shardable",
        ),
    },
    "tests/training/test_trainer.py": {
        "test_a_resnet_that_trains_is_refused_in_chunks_and_goes_on_as_the_message_says": (
            "src/hf_zhclip/training/parts.py check_chunks",
        ),
    },
    "tests/inference/test_embedder.py": {
        "test_the_dtype_of_the_message_is_taken": ("src/hf_zhclip/inference/embedder.py _dtype",),
    },
    "tests/inference/test_exported.py": {
        "test_an_export_for_transformers_js_is_told_as_such_and_a_plain_export_is_taken": (
            "src/hf_zhclip/inference/exported.py OTHER_KINDS",
        ),
        "test_an_option_that_an_export_has_not_is_left_out": (
            "src/hf_zhclip/inference/embedder.py _with_onnx: device_map=",
            "src/hf_zhclip/inference/embedder.py _with_onnx: dtype=",
        ),
    },
    "tests/inference/test_embedding.py": {
        "test_a_picture_that_was_away_for_a_time_is_embedded_when_its_shard_is_removed_as_the_result_says": (
            "src/hf_zhclip/inference/embedding.py _check_failed",
        ),
        "test_a_shard_of_another_corpus_is_named_and_made_again_after_it_is_removed": (
            "src/hf_zhclip/inference/corpus.py AGAIN",
        ),
        "test_a_strict_run_ends_at_a_broken_picture_and_goes_on_without_the_option": (
            "src/hf_zhclip/inference/embedding.py _Strict.__setitem__",
        ),
        "test_an_export_is_an_engine_of_its_own": (
            "src/hf_zhclip/inference/embedding.py _check_arguments: Leave --dtype out",
            "src/hf_zhclip/inference/embedding.py _check_arguments: Leave --device out",
        ),
        "test_other_arguments_are_refused_and_the_same_go_on": (
            "src/hf_zhclip/inference/embedding.py _with_texts: with --texts",
            "src/hf_zhclip/inference/embedding.py _with_texts: without --texts",
        ),
        "test_what_is_no_corpus_is_refused_and_becomes_a_corpus_by_the_command_of_the_message": (
            "src/hf_zhclip/inference/corpus.py read_manifest",
            "src/zhclip_cli/search.py _missing",
        ),
        "test_wrong_arguments_are_refused_and_leave_nothing": (
            "src/zhclip_cli/embed.py refusal: a folder that",
            "src/zhclip_cli/embed.py refusal: and is no name on the hub",
            "src/hf_zhclip/inference/embedding.py _check_arguments: found --engine",
            "src/hf_zhclip/inference/embedding.py _check_arguments: found --dtype {dtype}; wanted",
        ),
    },
    "tests/inference/test_zhclip_onnx.py": {
        "test_facts_with_an_unknown_or_a_missing_field_are_damaged": (
            "src/hf_zhclip/inference/zhclip_onnx.py _OTHER_FIELDS",
        ),
        "test_a_folder_that_is_no_export_is_refused_and_an_export_is_taken": (
            "src/hf_zhclip/inference/zhclip_onnx.py _read_facts",
        ),
        "test_a_picture_that_is_cut_off_is_named_and_the_whole_file_is_taken": (
            "src/hf_zhclip/inference/zhclip_onnx.py _CUT_OFF",
        ),
        "test_what_no_export_holds_is_refused_before_onnxruntime_reads_it": (
            "src/hf_zhclip/inference/zhclip_onnx.py _STRANGE",
        ),
    },
    "tests/inference/test_searching.py": {
        "test_a_model_that_has_moved_is_named_with_model": ("src/hf_zhclip/inference/searching.py _place",),
        "test_another_model_is_refused_and_the_corpus_s_own_is_the_way_out": (
            "src/hf_zhclip/inference/searching.py _check_same: found another model",
        ),
        "test_what_a_message_names_works": (
            "src/hf_zhclip/inference/searching.py _check_out",
            "src/zhclip_cli/search.py refusal: found --port",
            "src/zhclip_cli/search.py refusal: found --serve",
            "src/zhclip_cli/search.py refusal: found --threshold",
            "src/zhclip_cli/search.py refusal: found --top-k",
            "src/zhclip_cli/search.py refusal: found an empty text",
        ),
    },
    "tests/page/test_page.py": {
        "test_a_port_in_use_is_told_and_any_other_is_the_way_out": ("src/hf_zhclip/inference/serving.py _listening",),
    },
    "tests/training/test_resuming.py": {
        "test_a_checkpoint_of_more_steps_than_the_epochs_have_is_refused": (
            "src/hf_zhclip/training/trainer.py KnowsItsEnd.on_train_begin",
        ),
        "test_the_checkpoint_before_goes_on_once_a_bad_one_is_removed": (
            "src/hf_zhclip/training/resuming.py way_without",
        ),
    },
    "tests/training/test_training.py": {
        "a_split_to_validate_on_is_named": ("src/hf_zhclip/training/training.py _arguments: split to validate on",),
        "test_a_training_that_diverges_ends_in_words_and_leaves_no_weights": (
            "src/hf_zhclip/training/trainer.py DivergedError.__init__",
        ),
        "test_checkpoints_of_another_kind_of_training_are_refused_and_its_own_arguments_go_on": (
            "src/hf_zhclip/training/training.py _check_whole: steps already",
        ),
        "a_share_that_keeps_no_patch_becomes_smaller": ("src/hf_zhclip/training/parts.py check_patches",),
        "a_split_that_is_not_blind_is_named": ("src/hf_zhclip/training/training.py _pool",),
        "an_alias_is_written_out": ("src/hf_zhclip/yaml_files.py _check_events",),
        "bfloat16_on_the_processor_is_asked_for": (
            "src/hf_zhclip/training/arguments.py ContrastiveArguments._check_bfloat16",
        ),
        "test_another_context_length_is_that_of_the_training_alone_as_the_message_says": (
            "src/hf_zhclip/training/training.py _loaded",
        ),
        "an_argument_of_trainer_s_own_is_left_out_for_resume": ("src/hf_zhclip/training/training.py OURS: --resume",),
        "an_argument_that_pushes_is_left_out": ("src/hf_zhclip/training/training.py OURS: zhclip push",),
        "resume_is_left_out_where_nothing_began": ("src/hf_zhclip/training/training.py _checkpoint: Leave out",),
        "test_a_last_batch_of_one_pair_is_left_out_as_the_message_says": (
            "src/hf_zhclip/training/training.py _check_sizes",
        ),
        "test_a_disk_with_room_for_fewer_checkpoints_takes_them_as_the_message_says": (
            "src/hf_zhclip/training/space.py check_space",
        ),
        "test_a_resnet_that_does_not_fit_into_the_memory_is_told_no_option_that_is_refused": (
            "src/hf_zhclip/training/training.py _less_memory: --as_cn_clip",
        ),
        "test_a_training_that_began_goes_on_and_weights_that_were_trained_are_finished": (
            "src/hf_zhclip/training/training.py _checkpoint: goes on",
        ),
        "test_what_does_not_fit_into_the_memory_is_made_smaller_as_the_message_says": (
            "src/hf_zhclip/training/training.py _less_memory: --cache_chunk",
            "src/hf_zhclip/training/training.py _less_memory: --gradient_checkpointing",
        ),
        "test_what_ends_a_training_is_said_and_its_checkpoints_stay": ("src/hf_zhclip/training/training.py _STAY",),
    },
    "tests/test_cli.py": {
        "test_every_command_has_help": ("src/zhclip_cli/command_line.py _Parser.error",),
    },
    "tests/test_typed_inputs_zhclip.py": {
        "test_the_calls_of_that_message_work": (
            "src/hf_zhclip/modeling_zhclip.py ZhCLIPPreTrainedModel.processor",
            "src/hf_zhclip/modeling_zhclip.py ZhCLIPPreTrainedModel._needed_processor",
            "src/hf_zhclip/typed_inputs_zhclip.py NO_PROCESSOR",
        ),
    },
    "tests/test_repos_on_the_hub.py": {
        "test_a_repo_that_is_not_in_the_cache_is_told_in_offline_mode_and_loads_without": (
            "src/hf_zhclip/inference/loading.py _asking: HF_HUB_OFFLINE forbids",
        ),
    },
    "tests/test_signals.py": {
        "test_a_source_that_shrinks_while_it_is_read_is_told_in_a_line": ("src/zhclip_cli/signals.py _watch",),
    },
}
"""File -> test, or walk of a test_ways_out.py -> places of messages: a file with a function or a constant, and
words of the message if several messages stand there.
"""

NO_WAYS = {
    "a line of `zhclip list`, not a message": ("conversion/reading/catalogue.py _line",),
    "another file of the user's pictures": ("src/hf_zhclip/pictures_zhclip.py _DAMAGED",),
    "argparse refuses the word before, and lists the words": ("conversion/reading/read.py choose: There is no",),
    "code for the users of the original's own package, which `make parity` runs": (
        "conversion/sources/bert_clip.py LOAD",
        "conversion/sources/bert_clip.py LOAD_DUAL_ENCODER",
        "conversion/sources/bert_from_clip.py LOAD",
        "conversion/sources/chinese_clip.py LOAD",
        "conversion/sources/hf_clip.py LOAD",
        "conversion/sources/hf_clip.py LOAD_IMAGE",
        "conversion/sources/multilingual_clip.py LOAD",
        "conversion/sources/taiyi.py LOAD",
        "conversion/sources/taiyi_clip.py LOAD",
        "conversion/sources/zh_clip.py LOAD",
    ),
    "for who imports a folder of the source tree, not for users; its command installs packages": (
        "conversion/__init__.py",
    ),
    "installs a package from the network; tests/conversion/reading/test_hub_modelscope.py reads by a stand-in of it": (
        "conversion/reading/hub_modelscope.py _package",
    ),
    "installs a package from the network; tests/releases/test_against_releases.py runs the releases": (
        "src/hf_zhclip/compat_zhclip.py",
    ),
    "options of cn_clip's own scripts, which tests/parity/test_export_to_cn_clip.py runs": (
        "conversion/exports/cn_clip_file.py differences: load_from_name rounds most",
        "conversion/exports/cn_clip_file.py differences: cn_clip's training resumes",
        "conversion/exports/cn_clip_file.py differences: cn_clip's training does",
        "conversion/exports/cn_clip_file.py differences: evaluation scripts take",
    ),
    "save_16bit_model is DeepSpeed's, and needs several devices": ("conversion/reading/wrappers.py _refuse_parts",),
    "part of a sentence about a package; tests/evaluation/test_evaluating.py evaluates without --out and without it": (
        "src/hf_zhclip/evaluation/charts.py check_available",
    ),
    "says how a format was found": ("conversion/detection/detect.py _named: , and the",),
    "says how a folder was written": ("conversion/exports/onnx/readme.py README",),
    "says how a repo was converted": ("conversion/publishing/card_proof.py CAST",),
    "says that the model is not converted": ("conversion/sources/wukong.py _variant: states is_token_wise true.",),
    "the command's own name": (
        "src/hf_zhclip/training/training.py _parser",
        "src/hf_zhclip/inference/serving.py serve",
    ),
    "the help of an option": (
        "src/zhclip_cli/train.py add_arguments",
        "src/zhclip_cli/common.py SOURCE",
        "src/zhclip_cli/common.py SHARED",
    ),
    "the style of a page, not a message": ("src/hf_zhclip/inference/page.py CSS",),
    "the mark of a card that was written, not a sentence": (
        "conversion/publishing/card_file.py STAMP",
        "conversion/publishing/card_file.py stamped",
    ),
    "today's version is another repository, whose conversion tests/conversion/sources/test_modelscope.py tests": (
        "conversion/reading/read.py REFUSED_FOLDERS",
        "conversion/sources/modelscope.py RELATIVES",
    ),
    "what a witness says of facts that layouts/hf_config.py takes, with the same advice": (
        "conversion/proof/peers/common.py built_from",
        "conversion/proof/witnesses.py in_words",
    ),
    "what torch raises of a repo that loads; the same sentence as the other messages of verify": (
        "conversion/proof/verification.py _running",
    ),
}
"""Why nobody walks a text that looks like a way out -> its places."""
