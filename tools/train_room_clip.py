from geoguide3d.cli.train_room_clip import main

raise SystemExit(main())
